"""The journal that this process appends receipts to, and the replacement of all journals by fewer receipts.

A name is used for one journal only, ever: whoever finds its journal gone or spoilt goes on under a new random name.
So a reader that knows a journal by name and length never mixes two of them up.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from common.storage.base import Receipt
from common.storage.durable import sync_folder
from common.storage.records import RECORD_SIZE, pack

FILE_MODE = 0o640


@dataclass(slots=True)
class _Current:
    """One journal file. `size` bytes are written, `synced` of them are durable."""

    path: Path
    size: int = 0
    synced: int = 0
    broken: bool = False
    syncing: threading.Lock = field(default_factory=threading.Lock)


class Journal:
    """Appends the receipts of one upload for this process. Called from several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writing = threading.Lock()
        self._current: _Current | None = None

    def append(self, receipt: Receipt, *, durable: bool) -> tuple[Path, int]:
        """Write one record; with `durable` it is on the disk afterwards. The journal, and its length up to the end of
        the record. After an error the record does not count."""
        with self._writing:
            descriptor, current = self._open()
            try:
                end = self._write(descriptor, current, pack(receipt))
            except BaseException:
                os.close(descriptor)
                raise
        try:
            if durable:
                self._sync(descriptor, current, end)
        finally:
            os.close(descriptor)
        return current.path, end

    def _open(self) -> tuple[int, _Current]:
        if self._current is not None:
            try:
                return os.open(self._current.path, os.O_WRONLY | os.O_APPEND), self._current
            except FileNotFoundError:
                self._current = None  # a sealer has put receipts away
        current = _Current(new_journal(self._folder))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        descriptor = os.open(current.path, flags, FILE_MODE)
        self._current = current
        return descriptor, current

    def _write(self, descriptor: int, current: _Current, record: bytes) -> int:
        self._current = None  # until the record is whole: nothing may follow a torn one
        if os.write(descriptor, record) != RECORD_SIZE:
            raise OSError(errno.ENOSPC, "the receipt was cut")
        self._current = current
        current.size += RECORD_SIZE
        return current.size

    def _sync(self, descriptor: int, current: _Current, end: int) -> None:
        """One fdatasync is enough for all records that were written while the one before was running."""
        with current.syncing:
            if current.broken:
                raise OSError(errno.EIO, "the journal could not be made durable")
            if current.synced >= end:
                return
            reached = current.size
            try:
                os.fdatasync(descriptor)
                if current.synced == 0:
                    sync_folder(self._folder)
            except OSError:
                self._give_up(descriptor, current)
                raise
            current.synced = reached

    def _give_up(self, descriptor: int, current: _Current) -> None:
        """After a failed sync the cache shows records that the disk may not have: take those back."""
        with self._writing:
            current.broken = True
            if self._current is current:
                self._current = None
            os.ftruncate(descriptor, current.synced)


def new_journal(folder: Path) -> Path:
    return folder / f"receipts-{secrets.token_hex(8)}.log"


def journals(folder: Path) -> list[Path]:
    """All journals of an upload. Raises FileNotFoundError when the folder is not there."""
    return [folder / name for name in sorted(os.listdir(folder)) if _is_journal(name)]  # noqa: PTH208  # names are enough


def _is_journal(name: str) -> bool:
    return name.startswith("receipts-") and name.endswith(".log")


def replace_journals(folder: Path, keep: Iterable[Receipt], *, durable: bool) -> None:
    """Only the receipts in `keep` count afterwards. The caller holds the upload alone.

    The new journal is complete before the old ones go. After a crash in between, all receipts are still there.
    """
    old = journals(folder)
    records = b"".join(map(pack, keep))
    if records:
        _write_whole(new_journal(folder), records, durable=durable)
        if durable:
            sync_folder(folder)
    for journal in old:
        journal.unlink(missing_ok=True)
    if durable:
        sync_folder(folder)


def _write_whole(path: Path, content: bytes, *, durable: bool) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("xb") as file:
        file.write(content)
        file.flush()
        if durable:
            os.fdatasync(file.fileno())
    temporary.rename(path)
