"""Whose turn it is to write to SQLite, which has one writer at a time among all processes.

SQLite's own way is to sleep for up to 100 ms and try again: under load the writer that sleeps longest starves, and a
waiting one wastes a connection. Here the tasks of a process wait in line, and the first of each line asks for a lock
file every millisecond, so a turn is taken within about a millisecond of its end.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from types import TracebackType

RETRY_SECONDS = 0.001


class WriteTurn:
    """An async context manager around a write transaction. The lock dies with its process; the file stays."""

    def __init__(self, path: str) -> None:
        """`path` is the lock file; it is made when it is first needed."""
        self._path = path
        self._line = asyncio.Lock()
        self._descriptor: int | None = None

    async def __aenter__(self) -> None:
        await self._line.acquire()
        try:
            # no event to wait for: the lock is another process's
            while not self._take():  # noqa: ASYNC110
                await asyncio.sleep(RETRY_SECONDS)
        except BaseException:
            self._line.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._descriptor is not None
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._line.release()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self) -> bool:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
