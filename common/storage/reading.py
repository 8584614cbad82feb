"""Reading a published file piece by piece."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from common.storage.threads import Threads

READ_SIZE = 1024 * 1024  # bytes that one reader holds; larger gained nothing (measured)


class FileReader:
    """An iterator over a range of a file. The open descriptor keeps the bytes, even when the file is deleted.

    Close it with `aclose` when it is left before its end.
    """

    def __init__(self, threads: Threads, path: Path, start: int, length: int) -> None:
        self._threads = threads
        self._path = path
        self._position = start
        self._end = start + length
        self._descriptor: int | None = None
        self._whole: bytes | None = None  # of a range that fits into one piece, until it is asked for
        self._busy = threading.Lock()  # a descriptor is never closed while a thread uses it

    async def open(self) -> None:
        """Raises FileNotFoundError. Cancelled or not: what is open afterwards is closed by `aclose`."""
        try:
            await self._threads.run(self._open)
        except BaseException:
            await self.aclose()
            raise

    def __aiter__(self) -> FileReader:
        return self

    async def __anext__(self) -> bytes:
        if self._whole:
            piece, self._whole = self._whole, None
            return piece
        if self._descriptor is None or self._position >= self._end:
            await self.aclose()
            raise StopAsyncIteration
        try:
            piece = await self._threads.run(self._read)
        except BaseException:
            await self.aclose()
            raise
        self._position += len(piece)
        return piece

    async def aclose(self) -> None:
        """Let go of the file. May be called again."""
        if self._descriptor is not None:
            await self._threads.run(self._close)

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDONLY)
        if os.fstat(self._descriptor).st_size < self._end:
            raise FileNotFoundError(self._path)  # a part of a file is no file
        if self._end - self._position <= READ_SIZE:  # no further hop to a thread
            self._whole = b"".join(self._pieces())
            self._close()
            return
        os.posix_fadvise(self._descriptor, self._position, self._end - self._position, os.POSIX_FADV_SEQUENTIAL)

    def _pieces(self) -> Iterator[bytes]:
        while self._position < self._end:
            piece = self._read()
            self._position += len(piece)
            yield piece

    def _read(self) -> bytes:
        with self._busy:
            assert self._descriptor is not None
            piece = os.pread(self._descriptor, min(READ_SIZE, self._end - self._position), self._position)
        if not piece:
            raise OSError(errno.EIO, "the file is shorter than it was")
        return piece

    def _close(self) -> None:
        with self._busy:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)
