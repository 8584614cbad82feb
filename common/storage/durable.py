"""Bytes and names onto the disk: positioned writes, fsync of files and folders, free space. All calls block."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from common.errors import InsufficientStorage
from common.telemetry import get_logger

log = get_logger(__name__)

IOV_MAX = 1024  # buffers that one pwritev takes on Linux
FOLDER_MODE = 0o750
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})  # some network file systems; their renames are synchronous
_MANY = 10_000  # remembered folders; a bound, not a tuning


def write_at(descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
    """Write all buffers at `offset` (bytes) without joining them; returns the number of bytes."""
    written = 0
    for first in range(0, len(buffers), IOV_MAX):
        written += _write_all(descriptor, buffers[first : first + IOV_MAX], offset + written)
    return written


def _write_all(descriptor: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
    total = sum(map(len, buffers))
    done = 0
    while done < total:
        count = os.pwritev(descriptor, buffers, offset + done)
        if count == 0:
            raise OSError(errno.EIO, "the write made no progress")
        done += count
        if done < total:
            buffers = _rest(buffers, count)
    return total


def _rest(buffers: Sequence[bytes | memoryview], skip: int) -> list[bytes | memoryview]:
    for index, buffer in enumerate(buffers):
        if skip < len(buffer):
            return [memoryview(buffer)[skip:], *buffers[index + 1 :]]
        skip -= len(buffer)
    return []


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Does `path` still name the open file?"""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


class Folders:
    """Makes folders below `root` and remembers which are durable, up to and with the root's own name."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()

    def ensure(self, folder: Path, *, durable: bool) -> None:
        """Make `folder` and its parents. A folder that another process made a moment ago is synced as well."""
        if os.path.isdir(folder) and (not durable or folder in self._durable):  # noqa: PTH112 - once for each file
            return
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        if not durable:
            return
        for level in (folder, *folder.parents):
            if level == self._root.parent:
                break
            sync_folder(level)
        self._sync_above_root()
        if len(self._durable) >= _MANY:
            self._durable.clear()
        self._durable.add(folder)

    def _sync_above_root(self) -> None:
        try:
            sync_folder(self._root.parent)
        except PermissionError:
            return  # a mount point whose parent is not ours: then we did not make the root either


def has_space(root: Path, needed: int, reserve: int, promised: int = 0) -> bool:
    """Whether `needed` bytes fit below `root` beside `promised` ones, and `reserve` bytes stay free."""
    free = free_bytes(root)
    return free >= reserve and max(0, free - reserve - promised) >= needed


def require_space(root: Path, needed: int, reserve: int, promised: int = 0) -> None:
    """Raise InsufficientStorage unless there is space; see `has_space`."""
    if not has_space(root, needed, reserve, promised):
        # what there is is the operator's business: a caller learns what it needs
        numbers = {"free_bytes": free_bytes(root), "reserved_bytes": reserve, "promised_bytes": promised}
        log.warning("storage.no_space", needed_bytes=needed, **numbers)
        raise InsufficientStorage(
            f"There is no room for {needed} bytes. Remove files or wait until uploads expire, then send again.",
            needed_bytes=needed,
        )


def free_bytes(root: Path) -> int:
    """What users without special rights may still write below `root`."""
    state = os.statvfs(root)
    return state.f_bavail * state.f_frsize
