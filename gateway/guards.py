"""Pure ASGI middleware around every request: request id, log context, body bounds, clean ends, metrics.

A route never sees a body without a deadline, and a client never waits on a connection whose body was not read: such an
answer says `Connection: close` and what the client still sends is dropped for a moment, so that it can read the answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import BodyTooLarge, CodingNotAllowed, Internal, NotFound, SluiceError, Unavailable
from common.ids import new_id
from common.settings import HttpSettings
from common.telemetry import Metrics, get_logger
from gateway.deadlines import SLACK, BodyDeadline
from gateway.problems import problem_response

log = get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CHUNK_PATH = re.compile(r"/v1/uploads/[^/]+/chunks/[^/]+/?")
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 32 * 1024 * 1024  # one chunk of the default sizes; a client that sends more is cut


def native(method: str, path: str) -> bool:
    """Whether a request of the native surface brings file bytes."""
    return (method == "PUT" and _CHUNK_PATH.fullmatch(path) is not None) or (
        method == "POST" and path.rstrip("/") == "/v1/files"
    )


class Slots:
    """Requests in flight in one process."""

    def __init__(self) -> None:
        self.taken = 0

    @contextmanager
    def lent(self) -> Iterator[None]:
        """For a request that only waits: meanwhile another one may have its place."""
        self.taken -= 1
        try:
            yield
        finally:
            self.taken += 1


class Guards:
    """One per app; counts the requests in flight. `streams` says of method and path whether the body is a file's."""

    def __init__(
        self, app: ASGIApp, *, settings: HttpSettings, metrics: Metrics, streams: Callable[[str, str], bool] = native
    ) -> None:
        self._app = app
        self._streams = streams
        self._settings = settings
        self._metrics = metrics
        self._slots = Slots()
        metrics.requests_running.set_function(lambda: self._slots.taken)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])  # the last one of a name is enough here
        scope["request_id"] = _request_id(headers)
        scope["slots"] = self._slots
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=scope["request_id"])
        if (trace_id := scope.get("trace_id")) is not None:
            structlog.contextvars.bind_contextvars(trace_id=trace_id)
        limit = self._limit(scope)
        body = BodyDeadline(receive, self._settings, limit)
        exchange = _Exchange(scope, body, send, has_body=_has_body(headers))
        began = time.perf_counter()
        self._slots.taken += 1
        try:
            await self._run(scope, body, exchange, _refusal(scope, limit, headers))
        finally:
            self._slots.taken -= 1
            self._observe(scope, exchange, time.perf_counter() - began)

    async def _run(self, scope: Scope, body: BodyDeadline, exchange: _Exchange, refusal: SluiceError | None) -> None:
        if self._slots.taken > self._settings.max_requests and scope["path"] not in PROBES:
            refusal = Unavailable("Too many requests at once; send it again.", retry_after=1)
        if refusal is not None:
            await self._refuse(refusal, scope, exchange)
            return
        try:
            await self._app(scope, body, exchange.send)
        except SluiceError as error:
            await self._refuse(error, scope, exchange)
        except asyncio.CancelledError:  # the drain bound is over: the server ends what is left
            if exchange.started:
                raise
            ending = Unavailable("This server is shutting down; send the request again.", retry_after=1)
            await self._refuse(ending, scope, exchange)
        except Exception:
            log.exception("request.crashed", path=scope["path"])
            await self._refuse(Internal("An unexpected error; tell the operator the request_id."), scope, exchange)
        await exchange.finish()

    async def _refuse(self, error: SluiceError, scope: Scope, exchange: _Exchange) -> None:
        self._metrics.refused.labels(code=error.code).inc()
        if exchange.started:
            raise error  # too late for an answer: the server cuts the connection, the client sees a short body
        response = problem_response(error, scope["request_id"])
        await response(scope, exchange.receive, exchange.send)
        await exchange.finish()

    def _limit(self, scope: Scope) -> int | None:
        """Bytes that the body may have; the routes that stream count for themselves."""
        method, path = scope["method"], scope["path"]
        return None if native(method, path) or self._streams(method, path) else self._settings.max_json_body

    def _observe(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.requests.labels(method=scope["method"], route=route, status=exchange.status).inc()
        self._metrics.request_seconds.labels(route=route).observe(seconds)
        if route not in PROBES:
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=exchange.status,
                ms=round(seconds * 1000, 1),
                body_bytes=exchange.received,
            )


# not logged, and answered under any load: a process that is busy must not be killed for it
PROBES = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})


class _Exchange:
    """The sending side of one request: adds the request id, and ends the connection where the body was not read."""

    def __init__(self, scope: Scope, body: BodyDeadline, send: Send, *, has_body: bool) -> None:
        self._request_id = scope["request_id"].encode()
        self._body = body
        self._send = send
        self._has_body = has_body
        self._held: Message | None = None
        self._closing = False
        self.started = False
        self.status = 499  # as nginx counts a client that went away before the answer

    @property
    def received(self) -> int:
        return self._body.received

    async def receive(self) -> Message:
        return await self._body()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            extra = [(b"x-request-id", self._request_id)]
            if self._has_body and not self._body.complete:
                self._closing = True
                extra.append((b"connection", b"close"))
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        elif self._closing and not message.get("more_body", False):
            # The whole answer goes out now; the end of it, which closes the connection, waits for `finish`.
            self._held = {"type": "http.response.body", "body": b"", "more_body": False}
            message = {**message, "more_body": True}
        await self._send(message)

    async def finish(self) -> None:
        if self._held is None:
            return
        held, self._held = self._held, None
        most = _LINGER_BYTES if self._body.received == 0 else SLACK
        await self._body.drain(most, _LINGER_SECONDS)
        await self._send(held)


def _request_id(headers: dict[bytes, bytes]) -> str:
    """The client's own id where it is harmless, else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else new_id()


def _refusal(scope: Scope, limit: int | None, headers: dict[bytes, bytes]) -> SluiceError | None:
    """What can be refused by the head alone, before the first read."""
    if _CONTROL.search(scope["path"]):  # a route would match `/livez` and a line break after it
        return NotFound("There is nothing at this address: no path has control characters.")
    codings = (value for name, value in scope["headers"] if name == b"content-encoding")
    if any(coding.strip().lower() not in (b"", b"identity") for value in codings for coding in value.split(b",")):
        return CodingNotAllowed("Send the body as it is, without Content-Encoding: nothing is decoded here.")
    if any(name == b"transfer-encoding" and value.strip().lower() != b"chunked" for name, value in scope["headers"]):
        return CodingNotAllowed("Send the body as it is: the one Transfer-Encoding here is chunked.")
    return _beyond(limit, headers)


def _beyond(limit: int | None, headers: dict[bytes, bytes]) -> BodyTooLarge | None:
    """The refusal of what announces itself as too long, before the first read."""
    text = headers.get(b"content-length", b"")
    if limit is None or not text.isdigit() or int(text[:20]) <= limit:
        return None
    return BodyTooLarge(f"The body may have at most {limit} bytes here.", limit=limit)


def _has_body(headers: dict[bytes, Any]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
