"""Reads from sockets into one buffer, as much at a time as memory allows, and hands it to the protocol uncopied.

uvloop alone brings up to 250 KiB with each read: hundreds of uploads that hurry at the same moment would cost hundreds
of those, before anybody could say no.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.http.flow_control import FlowControl

from gateway.intake import READ_MOST


class Taker(Protocol):
    """An `asyncio.Protocol` that says how much it has room for."""

    def connection_made(self, transport: asyncio.Transport) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def eof_received(self) -> None: ...

    def room(self) -> int:
        """Bytes that it takes now, from 1 to READ_MOST; not asked while it has paused reading."""
        ...

    def data_received(self, data: memoryview) -> None:
        """`data` is valid during this call only."""
        ...


class Reader(asyncio.BufferedProtocol):
    """Between one transport and one taker. All readers of a loop share `buffer`: a read is taken before the next."""

    def __init__(self, taker: Taker, buffer: memoryview) -> None:
        self._taker = taker
        self._buffer = buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._taker.connection_made(cast("asyncio.Transport", transport))

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint  # always the same
        return self._buffer[: self._taker.room()]

    def buffer_updated(self, nbytes: int) -> None:
        self._taker.data_received(self._buffer[:nbytes])

    def eof_received(self) -> None:
        self._taker.eof_received()

    def pause_writing(self) -> None:
        self._taker.pause_writing()

    def resume_writing(self) -> None:
        self._taker.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._taker.connection_lost(exc)


class CountedFlow(FlowControl):
    """uvicorn's flow control, which resumes reading whenever the app asks for more: the moment to count anew."""

    def __init__(self, transport: asyncio.Transport, count: Callable[[], None]) -> None:
        super().__init__(transport)
        self._count = count

    def resume_reading(self) -> None:
        self._count()
        super().resume_reading()


def reader_of(taker: Callable[..., Taker]) -> Callable[..., Reader]:
    """The factory of readers around what `taker` makes, for one event loop."""
    buffer = memoryview(bytearray(READ_MOST))

    def make(*args: Any, **kwargs: Any) -> Reader:
        return Reader(taker(*args, **kwargs), buffer)

    return make
