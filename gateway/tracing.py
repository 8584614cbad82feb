"""Pure ASGI middleware, outermost where traces are on: one server span for each request, and none for probes.

Names and attributes are those of the semantic conventions of OpenTelemetry for HTTP servers (stable since 1.23): the
route's template is the name, so that ids stay out of it. The query is not recorded: it may hold names of files.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.tracing import Carrier, Span, Tracer
from gateway.guards import PROBES

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
_CARRIED = {b"traceparent": "traceparent", b"tracestate": "tracestate"}


class Traced:
    """Sees every answer, also those of the guards inside."""

    def __init__(self, app: ASGIApp, *, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        first = {"http.request.method": method, "url.scheme": scope["scheme"], "url.path": scope["path"]}
        with self._tracer.span(_name(method, None), kind="server", parent=_carrier(scope), attributes=first) as span:
            scope["trace_id"] = span.trace_id  # the guards bind it to the log lines
            try:
                await self._app(scope, receive, watched)
            finally:
                _end(span, scope, method, status)


def _end(span: Span, scope: Scope, method: str, status: int | None) -> None:
    route = getattr(scope.get("route"), "path", None)
    span.rename(_name(method, route))
    span.add({"network.protocol.version": scope["http_version"], "sluice.request_id": scope.get("request_id", "")})
    if route is not None:
        span.add({"http.route": route})
    if status is None:
        span.fail("client_gone")
        return
    span.add({"http.response.status_code": status})
    if status >= 500:  # 4xx is the client's fault and no failure of a server
        span.fail(str(status))


def _name(method: str, route: str | None) -> str:
    verb = "HTTP" if method == "_OTHER" else method
    return verb if route is None else f"{verb} {route}"


def _carrier(scope: Scope) -> Carrier:
    return {_CARRIED[name]: value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}
