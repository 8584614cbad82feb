"""What lies in a local storage: for `fsck`, and for the bytes that open uploads may still bring. All calls block.

Names that are not ours (no id, no known folder) are passed over: nothing here may lead to removing what is not ours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from common.storage.base import ObjectKey, StoredObject, StoredUpload, UploadKey
from common.storage.layout import DYING, is_plain_id

BLOCK = 512  # bytes; the unit of st_blocks whatever the file system's own is (stat(2))
PROMISES_LIVE = 2.0  # seconds for which a sum over all open uploads is good enough


def tenants(root: Path) -> list[str]:
    """Tenants that have a folder."""
    return sorted(entry.name for entry in _entries(root) if entry.is_dir() and is_plain_id(entry.name))


def stored_uploads(root: Path, tenant: str) -> list[StoredUpload]:
    """Upload folders of a tenant, also those that an abort left half removed."""
    found = []
    for entry in _entries(root / tenant / "uploads"):
        name = entry.name.removeprefix(DYING)
        if is_plain_id(name):
            found.append(StoredUpload(UploadKey(tenant, name), dying=entry.name.startswith(DYING)))
    return found


def stored_objects(root: Path, tenant: str) -> Iterator[list[StoredObject]]:
    """Published files of a tenant, one fan-out folder after the other."""
    for folder in _entries(root / tenant / "files"):
        names = [entry for entry in _entries(Path(folder.path)) if is_plain_id(entry.name)]
        yield [StoredObject(ObjectKey(tenant, entry.name), entry.stat().st_size) for entry in names]


class Promises:
    """Bytes that open uploads have declared and not brought yet: the holes in their sparse files.

    A sum over all uploads of the volume, whoever made them; summed again when it is older than PROMISES_LIVE. What this
    process promises meanwhile is added; what others promise in that moment is not known and `min_free_bytes` bears it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._sum = 0
        self._good_until = 0.0

    def bytes(self) -> int:
        if time.monotonic() >= self._good_until:
            self._sum = sum(self._holes())
            self._good_until = time.monotonic() + PROMISES_LIVE
        return self._sum

    def add(self, size: int) -> None:
        """This process has just begun an upload of `size` bytes."""
        self._sum += size

    def _holes(self) -> Iterator[int]:
        for tenant in tenants(self._root):
            for entry in _entries(self._root / tenant / "uploads"):
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
