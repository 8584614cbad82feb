"""Long bodies straight from the socket: past the parser, which copies all it is fed, and in few large reads.

A body whose length is known needs no parser. The app's asking reads it, so nothing is read that nobody wants, and a
piece is one string that the kernel has filled: what arrives is copied once between the socket and the storage.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from collections.abc import Callable

_COUNT = struct.Struct("i")


class LongBody:
    """The `left` bytes that are still to come of a body, while the transport of its connection does not read.

    `room()` are the bytes that there is memory for, asked before each read. Closed by `close`, and at its end.
    """

    def __init__(self, transport: asyncio.Transport, left: int, room: Callable[[], int]) -> None:
        self.left = left
        self._room = room
        self._loop = asyncio.get_running_loop()
        # The loop lets nobody watch a descriptor that is a transport's.
        self._descriptor: int | None = os.dup(transport.get_extra_info("socket").fileno())
        self._waiting: asyncio.Future[None] | None = None

    async def take(self) -> bytes:
        """The next piece, as soon as there is one; empty when the client has gone, or after `close`."""
        while self._descriptor is not None:
            here = _readable_bytes(self._descriptor)
            try:
                # The end of the connection and its errors count no bytes.
                piece = os.read(self._descriptor, min(self.left, self._room(), max(here, 1)))
            except BlockingIOError:
                await self._readable(self._descriptor)
            except OSError:
                self.close()
            else:
                self.left -= len(piece)
                if not piece or not self.left:
                    self.close()
                return piece
        return b""

    def close(self) -> None:
        """Let go of the socket; whoever waits in `take` gets nothing. Again: nothing happens."""
        if self._descriptor is None:
            return
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        _wake(self._waiting)

    async def _readable(self, descriptor: int) -> None:
        self._waiting = self._loop.create_future()
        self._loop.add_reader(descriptor, _wake, self._waiting)
        try:
            await self._waiting
        finally:
            self._waiting = None
            if self._descriptor is not None:
                self._loop.remove_reader(descriptor)


def _readable_bytes(descriptor: int) -> int:
    """Bytes in the socket's buffer."""
    found: int = _COUNT.unpack(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(_COUNT.size)))[0]
    return found


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
