"""A lock among processes that is waited for without asking again and again: a thread waits in the kernel."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from contextlib import suppress


class LockFile:
    """An exclusive lock on a file that is made when it is first needed. It dies with its process; the file stays.

    For one task at a time. Who gives up waiting leaves a thread behind that gets the lock some day: it is then given
    back at once, or is the next waiter's.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._coming: asyncio.Future[None] | None = None
        self._wanted = False

    async def take(self, deadline: float) -> None:
        """Have the lock; `deadline` by the clock of the event loop. Raises TimeoutError, OSError."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._coming is None:
            if _locked(self._descriptor):
                return
            self._coming = self._wait_in_thread(self._descriptor)
        self._wanted = True
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(self._coming)
        except BaseException:
            self._wanted = False
            self._give_back()
            raise
        self._wanted = False
        self._coming = None

    def release(self) -> None:
        assert self._descriptor is not None
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """A thread that still waits keeps nothing: what it gets goes with the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _wait_in_thread(self, descriptor: int) -> asyncio.Future[None]:
        """A daemon: a lock that never comes must not keep the process from ending."""
        loop = asyncio.get_running_loop()
        coming = loop.create_future()
        mine = os.dup(descriptor)  # of the same open file: the number must not become another file's meanwhile

        def wait() -> None:
            error = None
            try:
                fcntl.flock(mine, fcntl.LOCK_EX)
            except OSError as failed:
                error = failed
            finally:
                os.close(mine)
            with suppress(RuntimeError):  # the loop has ended, and the process is about to
                loop.call_soon_threadsafe(self._came, coming, error)

        threading.Thread(target=wait, name="lock-file", daemon=True).start()
        return coming

    def _came(self, coming: asyncio.Future[None], error: OSError | None) -> None:
        if error is None:
            coming.set_result(None)
        else:
            coming.set_exception(error)
        if not self._wanted:
            self._give_back()

    def _give_back(self) -> None:
        """Nobody waits any more; where it has come all the same, it goes back."""
        if self._coming is None or not self._coming.done():
            return
        came = self._coming.exception() is None
        self._coming = None
        if came and self._descriptor is not None:
            self.release()


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
