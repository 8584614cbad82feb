"""Which storage this is: a mark in its root, which a volume that is not mounted cannot have. All calls block.

An unmounted volume leaves an empty folder. Without the mark, "not found" would be believed: accepted uploads would be
given up, deletions would count as done, new bytes would go to the wrong disk.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from common.errors import StorageUnavailable
from common.storage.durable import FOLDER_MODE, sync_folder

MARK = ".sluice-storage"


class Identity:
    """Until `expect` is called nothing is checked: contract tests and tools open a storage by its path alone."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mark = root / MARK
        self._expected: str | None = None
        self._seen: os.stat_result | None = None

    def read(self) -> str | None:
        """The id in the mark; None where there is none."""
        try:
            return self._mark.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None

    def initialise(self, storage_id: str) -> str:
        """Put up the mark where there is none; the id that stands in the end, which may be another process's."""
        self._root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        temporary = self._root / f"{MARK}-{secrets.token_hex(4)}"
        try:
            with temporary.open("x", encoding="ascii") as file:
                file.write(storage_id)
                file.flush()
                os.fsync(file.fileno())  # a mark that a power loss has emptied would shut the whole storage
            os.link(temporary, self._mark)  # unlike rename it never replaces what another process has put up
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(self._root)
        with suppress(PermissionError):  # a mount point whose parent is not ours: then we did not make the root either
            sync_folder(self._root.parent)
        standing = self.read()
        assert standing is not None
        return standing

    def expect(self, storage_id: str) -> None:
        """From now on every call checks that the storage is this one."""
        self._expected, self._seen = storage_id, None

    def check(self) -> None:
        """Raise StorageUnavailable unless the expected storage is here. One `stat` while nothing changes."""
        if self._expected is None:
            return
        try:
            state = self._mark.stat()
        except OSError:
            self._seen = None
            raise StorageUnavailable("The storage is not there: is its volume mounted?") from None
        if self._seen is not None and os.path.samestat(state, self._seen):
            return
        if self.read() != self._expected:
            raise StorageUnavailable("This is not the storage that the database knows: check SLUICE_STORAGE_URL.")
        self._seen = state
