"""The run folder of an embedded stack: who runs on this data folder, and under which process ids.

DATA/run/up.lock    held (flock) by the one `sluice up` of the data folder; contains its process id
DATA/run/NAME.pid   process id of each running part, and of `up` itself
DATA/run/url        base URL of the gateway, from readiness until the stop
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataFolderBusyError(Exception):
    """Another `sluice up` runs on this data folder."""


class RunFolder:
    """Small files in `DATA/run`, each replaced in one step so that a reader never sees a half-written one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the data folder; the files a killed run left behind are gone when this begins.

        The kernel drops the lock with the process, so a SIGKILL leaves nothing to clear by hand. Raises
        DataFolderBusyError if another process holds it, OSError if the folder cannot be made or written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "up.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise DataFolderBusyError(
                    f"data folder {self.path.parent} is in use by another `sluice up` (process {holder})"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self._clear()
            try:
                yield
            finally:
                self._clear()
                lock.truncate(0)

    def write(self, name: str, text: str) -> None:
        """Replace the file `name` in one step."""
        fresh = self.path / f".{name}.new"
        fresh.write_text(f"{text}\n", encoding="utf-8")
        fresh.replace(self.path / name)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def _clear(self) -> None:
        for pattern in ("*.pid", "*.port", "*.sock", ".*.new", "url"):
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)
