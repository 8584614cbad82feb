"""The life of an upload's folder: made, removed, how old it is. All calls block."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from common.storage.durable import FOLDER_MODE, Folders, is_at, sync_folder
from common.storage.inventory import Promises
from common.storage.journal import FILE_MODE
from common.storage.layout import UploadPaths
from common.storage.locks import share

_REMOVE_TRIES = 10  # a writer may add its journal while the folder is being removed


def make(paths: UploadPaths, size: int, *, folders: Folders, promises: Promises, durable: bool) -> None:
    """Room for an upload of `size` bytes; again: nothing. Raises InsufficientStorage."""
    if not paths.locks.exists():
        folders.ensure(paths.folder.parent, durable=durable)
        with promises.room_for(size):
            paths.folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            _make_sparse(paths.data, size)
        paths.locks.touch(mode=FILE_MODE)  # last: from here on beginning again changes nothing, also after seal
    if durable:
        sync_folder(paths.folder)
        sync_folder(paths.folder.parent)


def widen(paths: UploadPaths, size: int, *, promises: Promises) -> None:
    """Room for all `size` bytes of an upload that began without knowing them; again: nothing. Raises
    InsufficientStorage, FileNotFoundError."""
    data = os.open(paths.data, os.O_RDWR)
    try:
        # what is being sealed, or is a file by now, must not change, and has all its bytes
        if not share(data) or paths.sealing.exists() or not is_at(data, paths.data):
            return
        missing = size - os.fstat(data).st_size
        if missing > 0:
            with promises.room_for(missing):
                os.ftruncate(data, size)
    finally:
        os.close(data)


def remove(paths: UploadPaths, *, durable: bool) -> None:
    """Rename first: writers notice at once, and what a crash leaves is found by the next abort.

    Whoever is told that nothing is left never comes again: so it must not come back after a power loss.
    """
    _remove_folder(paths.dying)
    with suppress(FileNotFoundError):
        paths.folder.rename(paths.dying)
        _remove_folder(paths.dying)
    if durable:
        with suppress(FileNotFoundError):
            sync_folder(paths.folder.parent)


def _remove_folder(folder: Path) -> None:
    for last in range(_REMOVE_TRIES - 1, -1, -1):
        try:
            for name in os.listdir(folder):  # noqa: PTH208  # names are enough
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if last == 0:
                raise


def newest(folder: Path) -> datetime | None:
    """When something in it last changed (UTC); None when it is not there."""
    try:
        times = [folder.stat().st_mtime, *(entry.stat().st_mtime for entry in os.scandir(folder))]
    except FileNotFoundError:
        return None
    return datetime.fromtimestamp(max(times), UTC)


def _make_sparse(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
