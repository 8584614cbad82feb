"""Faults for the stand-in server: busy answers, cut connections, lost and shortened answers."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

Handler = Callable[[Request], Awaitable[Response]]
Abort = Callable[[Request], None]


@dataclass
class Fault:
    """What to do to the next `times` requests that match, after `skip` that are left alone.

    Kinds: `answer` (status, headers, code, members of the body), `cut` (reset in the middle of the request body),
    `lose` (do the work, then reset), `truncate` (reset after `after` bytes of the answer), `hold` (wait for
    `released`).
    """

    method: str
    ending: str
    kind: str
    times: int = 1
    skip: int = 0
    status: int = 503
    code: str = "unavailable"
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)
    after: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def takes(self, request: Request) -> bool:
        if request.method != self.method or not request.url.path.endswith(self.ending) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        self.reached.set()
        return True


async def fail(fault: Fault, request: Request, handler: Handler, abort: Abort) -> Response:
    if fault.kind == "answer":
        return problem(fault.status, fault.code, fault.headers, **fault.body)
    if fault.kind == "hold":
        await asyncio.to_thread(fault.released.wait, 30)
        return await handler(request)
    if fault.kind == "cut":
        await anext(request.stream())
    elif fault.kind == "lose":
        await handler(request)
    elif fault.kind == "truncate":
        return Truncated(await handler(request), fault.after, lambda: abort(request))
    abort(request)
    return Response(status_code=500)


class Truncated(Response):
    """An answer that ends with a reset in the middle of its body."""

    def __init__(self, whole: Response, after: int, abort: Callable[[], None]) -> None:
        super().__init__(bytes(whole.body), whole.status_code, dict(whole.headers))
        self._after = after
        self._abort = abort

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body)[: self._after], "more_body": True})
        await asyncio.sleep(0.05)  # lets the kernel deliver what was sent: a reset would throw it away
        self._abort()


def problem(status: int, code: str, headers: dict[str, str] | None = None, **extras: Any) -> Response:
    body = {"title": code, "status": status, "detail": f"refused: {code}", "code": code, "request_id": "r-1", **extras}
    return Response(json.dumps(body), status, headers, media_type="application/problem+json")
