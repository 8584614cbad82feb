"""Where bytes live: protocols and values (`base`) and the backends; `open_storage` picks the one that a URL names.

Only storage code is here: no HTTP, no SQL, no jobs. The local backend reads from the verbs down: `local` (its manual
and the verbs), `writing`, `seal`, `reading`; below them `receipts`, `journal`, `records` (what has arrived), `tiling`,
`readback` and `uncached` (verification), and `layout`, `locks`, `durable`, `threads`, `failures` (the operating
system). The S3 backend is the package `s3`, with its manual; it is imported only where it is used, and needs the extra
`s3`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from common.bucket import SCHEME
from common.settings import StorageSettings
from common.storage.base import Identifies, Lists, Storage
from common.storage.local import LocalStorage

__all__ = ["OpenStorage", "Storage", "open_storage"]


class OpenStorage(Storage, Lists, Identifies, Protocol):
    """What every backend is."""


def open_storage(settings: StorageSettings) -> OpenStorage:
    """The storage of `settings.storage_url`. Touches no disk and no network; close it at the end.

    What follows `file://` is a path taken literally; a relative one starts at the current folder.
    """
    if not settings.storage_url.startswith(SCHEME):
        return LocalStorage(Path(settings.storage_url.removeprefix("file://")), settings)
    from common.storage.s3 import S3Storage  # only where it is used

    return S3Storage(settings)
