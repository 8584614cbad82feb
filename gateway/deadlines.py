"""Bounds on the time a request body may take: uvicorn has none. Only time spent waiting for the client counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from common.errors import BodyTimeout, BodyTooLarge
from common.settings import HttpSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

RATE_WINDOW = 30.0  # seconds over which the minimum rate is measured
SLACK = 64 * 1024  # bytes read past a limit at the most: what one socket read may bring


class BodyDeadline:
    """Wraps `receive`: ends a body that stalls, comes slower than the minimum rate, or passes `limit` bytes."""

    def __init__(self, receive: Receive, settings: HttpSettings, limit: int | None) -> None:
        self._receive = receive
        self._idle = settings.body_idle_timeout
        self._min_rate = settings.body_min_rate
        self._limit = limit
        self._window_bytes = 0
        self._window_waited = 0.0
        self.received = 0
        self.complete = False
        self.disconnected = False

    async def __call__(self) -> Message:
        if self.complete:
            return await self._receive()  # long-polls wait here for the disconnect: no deadline
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._idle):
                message = await self._receive()
        except TimeoutError as error:
            raise BodyTimeout(f"No byte of the body came for {self._idle:g} seconds; send it again.") from error
        self._note(message, time.monotonic() - began)
        return message

    def _note(self, message: Message, waited: float) -> None:
        if message["type"] != "http.request":
            self.disconnected = True
            return
        size = len(message.get("body", b""))
        self.received += size
        self.complete = not message.get("more_body", False)
        if self._limit is not None and self.received > self._limit:
            raise BodyTooLarge(f"The body may have at most {self._limit} bytes here.", limit=self._limit)
        self._window_bytes += size
        self._window_waited += waited
        if self._window_waited < RATE_WINDOW:
            return
        if not self.complete and self._window_bytes < self._min_rate * self._window_waited:
            raise BodyTimeout(f"The body came slower than {self._min_rate} bytes per second; send it again.")
        self._window_bytes, self._window_waited = 0, 0.0

    async def drain(self, most: int, seconds: float) -> None:
        """Read and drop what the client still sends, within bounds, so that it reads our answer before the close."""
        try:
            async with asyncio.timeout(seconds):
                dropped = 0
                while not self.complete and not self.disconnected and dropped < most:
                    message = await self._receive()
                    if message["type"] != "http.request":
                        return
                    dropped += len(message.get("body", b""))
                    self.complete = not message.get("more_body", False)
        except TimeoutError:
            return
