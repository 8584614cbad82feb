"""Pure ASGI middleware around every tus request, also those that no route sees: the method, and the version."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.tus.fields import OVERRIDE, VERSION

PREFIX = "/tus"
_VERSION = (b"tus-resumable", VERSION.encode())
_METHODS = {method.encode(): method for method in ("HEAD", "GET", "PATCH", "DELETE", "OPTIONS", "POST")}


class Envelope:
    """A POST may stand for another method (section X-HTTP-Method-Override); every answer has `Tus-Resumable`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not owns(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def versioned(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), _VERSION]}
            await send(message)

        await self._app(_meant(scope), receive, versioned)


def owns(path: str) -> bool:
    """Whether the path is an address of this surface."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def _meant(scope: Scope) -> Scope:
    """The request with the method that it means. The server still frames the answer for the one that was sent."""
    given = dict(scope["headers"]).get(OVERRIDE.encode())
    if given is None or scope["method"] != "POST":
        return scope
    return {**scope, "method": _METHODS.get(given.strip().upper(), "POST")}
