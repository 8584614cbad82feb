"""Whose turn it is to write to SQLite, which has one writer at a time among all processes.

SQLite's own way is to sleep for up to 100 ms and try again: under load the writer that sleeps longest starves, and a
waiting one wastes a connection. Here the tasks of a process wait in line, and the first of each line waits for a lock
file. It holds another one meanwhile, the place behind the present writer, so that a process with a long line cannot
take one turn after the other while another waits.
"""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

from common.db.lockfile import LockFile


class WriteTurn:
    """An async context manager around a write transaction. The lock dies with its process; the file stays."""

    def __init__(self, path: str, patience: float, lock_patience: float | None = None) -> None:
        """`path` is the lock file, made when it is first needed; `patience` is in seconds.

        A long line that moves is waited for; in one that has not moved for `patience` seconds everybody gives up, so
        that a database that hangs does not pile up requests. The first of the line waits for other processes for
        `lock_patience` seconds (None: the same): it still has the database's own wait before it.
        """
        self._turn = LockFile(path)
        self._next = LockFile(f"{path}-next")
        self._patience = patience
        self._lock_patience = patience if lock_patience is None else lock_patience
        self._line = asyncio.Lock()
        self._moved_at = 0.0  # when a turn last ended well

    async def __aenter__(self) -> None:
        """Raises TimeoutError when the line does not move."""
        arrived = time.monotonic()
        await self._stand_in_line(arrived)
        try:
            await self._take(arrived)
        except BaseException:
            self._line.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._moved_at = time.monotonic()
        self._turn.release()
        self._line.release()

    def close(self) -> None:
        self._turn.close()
        self._next.close()

    async def _stand_in_line(self, arrived: float) -> None:
        if not self._line.locked():
            await self._line.acquire()
            return
        turn = asyncio.ensure_future(self._line.acquire())
        try:
            while not turn.done():
                await asyncio.wait({turn}, timeout=self._left(arrived))
        except BaseException:
            if not turn.cancel() and turn.done() and not turn.cancelled():
                self._line.release()  # it came in the same moment
            raise

    def _left(self, arrived: float) -> float:
        """Seconds of patience left; the line's last move renews it."""
        left = max(arrived, self._moved_at) + self._patience - time.monotonic()
        if left <= 0:
            raise TimeoutError("the line of writers does not move")
        return left

    async def _take(self, arrived: float) -> None:
        """The lock among processes."""
        began = time.monotonic()
        if self._moved_at < arrived and began - arrived > self._patience / 4:
            raise TimeoutError("nobody before us could write")  # our own try would only make it later
        deadline = asyncio.get_running_loop().time() + self._lock_patience
        await self._next.take(deadline)
        try:
            await self._turn.take(deadline)
        finally:
            self._next.release()
