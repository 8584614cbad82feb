"""What lies in a local storage: for `fsck`, and for the bytes that open uploads may still bring. All calls block.

Names that are not ours (no id, no known folder) are passed over: nothing here may lead to removing what is not ours.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.storage.base import ObjectKey, UploadKey
from common.storage.durable import has_space, require_space
from common.storage.layout import COMING, DYING, WHOLE, is_plain_id

BLOCK = 512  # bytes; the unit of st_blocks whatever the file system's own is (stat(2))
PROMISES_LIVE = 2.0  # seconds for which a sum over all open uploads is good enough to say yes


def tenants(root: Path) -> list[str]:
    """Tenants that have a folder."""
    return sorted(entry.name for entry in _entries(root) if is_plain_id(entry.name) and entry.is_dir())


def stored_uploads(root: Path, tenant: str) -> list[UploadKey]:
    """Uploads of a tenant that have something here, also one that an abort left half removed."""
    entries = _entries(root / tenant / "uploads")
    names = {entry.name.removeprefix(DYING).removesuffix(WHOLE).removesuffix(COMING) for entry in entries}
    return [UploadKey(tenant, name) for name in sorted(names) if is_plain_id(name)]


def stored_objects(root: Path, tenant: str) -> Iterator[list[ObjectKey]]:
    """Sealed files of a tenant, one fan-out folder after the other. A file in the wrong folder is none of ours."""
    for folder in _entries(root / tenant / "files"):
        names = [entry.name for entry in _entries(Path(folder.path))]
        yield [ObjectKey(tenant, name) for name in names if is_plain_id(name) and name[-2:] == folder.name]


class Promises:
    """Room for what open uploads have declared and not brought yet: the holes in their sparse files. What grows without
    having declared anything (`require`) takes of the room that is left beside it.

    A sum over all uploads of the volume, whoever made them. An old sum may say yes: what this process promises
    meanwhile is added, what others promise in that moment is borne by `reserve` (bytes). Only a fresh sum says no, so
    room that came back, and bytes that arrived, count at once.
    """

    def __init__(self, root: Path, reserve: int) -> None:
        self._root = root
        self._reserve = reserve
        self._mutex = threading.Lock()
        self._sum = 0
        self._summed_at = float("-inf")

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """Make an upload of `size` bytes in this block; one at a time. Raises InsufficientStorage."""
        asked = time.monotonic()
        with self._mutex:
            self._check(size, asked)
            yield
            self._sum += size

    def require(self, size: int) -> None:
        """Room for `size` bytes that are written at once, so that nothing is promised. Raises InsufficientStorage."""
        asked = time.monotonic()
        with self._mutex:
            self._check(size, asked)

    def _check(self, size: int, asked: float) -> None:
        self._refresh(asked - PROMISES_LIVE)
        if not has_space(self._root, size, self._reserve, self._sum):
            self._refresh(asked)
            require_space(self._root, size, self._reserve, self._sum)

    def _refresh(self, not_before: float) -> None:
        """Sum up again unless the sum is from then or later. Of many refusals at once, one has paid for all."""
        if self._summed_at < not_before:
            self._summed_at = time.monotonic()
            self._sum = sum(self._holes())

    def _holes(self) -> Iterator[int]:
        for tenant in tenants(self._root):
            for entry in _entries(self._root / tenant / "uploads"):
                if entry.name.endswith((WHOLE, COMING)):  # one file, without holes; many of them may wait
                    continue
                try:
                    state = os.stat(os.path.join(entry.path, "data"))  # noqa: PTH116, PTH118  # once per open upload
                except (FileNotFoundError, NotADirectoryError):
                    continue
                yield max(0, state.st_size - state.st_blocks * BLOCK)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
