"""Where bytes live: protocols and values (`base`) and the backends; `open_storage` picks the one that a URL names.

Only storage code is here: no HTTP, no SQL, no jobs. The local backend reads from the verbs down: `local` (its manual
and the verbs), `writing`, `seal`, `reading`; below them `receipts`, `journal`, `records` (what has arrived), `tiling`,
`readback` (verification), and `layout`, `locks`, `durable`, `threads`, `failures` (the operating system).
"""

from __future__ import annotations

from pathlib import Path

from common.settings import StorageSettings
from common.storage.base import Storage
from common.storage.local import LocalStorage

__all__ = ["Storage", "open_storage"]


def open_storage(settings: StorageSettings) -> LocalStorage:
    """The storage of `settings.storage_url`. Touches no disk; close it at the end.

    What follows `file://` is a path taken literally; a relative one starts at the current folder.
    """
    return LocalStorage(Path(settings.storage_url.removeprefix("file://")), settings)
