"""The reference for receiving: the same uvicorn, and a handler that reads the body and drops it."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn


async def drop(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI app: read to the end, answer 200."""
    if scope["type"] != "http":
        return
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


if __name__ == "__main__":
    uvicorn.run(
        drop, port=int(sys.argv[1]), http="httptools", loop="uvloop", lifespan="off", access_log=False, log_config=None
    )
