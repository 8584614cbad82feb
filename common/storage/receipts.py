"""The receipts of an upload as this process knows them: all journals merged, each read only as far as it is new."""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, insort
from collections import OrderedDict
from pathlib import Path

from common.storage.base import Receipt, Segment
from common.storage.durable import sync_folder
from common.storage.journal import Journal, journals
from common.storage.records import RECORD_SIZE, unpack

MOST_UPLOADS = 512  # remembered at once; a forgotten one is read again from the start
MOST_RECEIPTS = 100_000  # of all remembered uploads together: about 30 MB
FEW = 8  # receipts that are cheaper to insert one by one than to sort together with all others
_TRIES = 10  # a reading that journals are taken away from begins again


class Ledger:
    """The merged receipts of one upload and the journal of this process. All methods block; any thread may call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mutex = threading.Lock()
        self._journal = Journal(folder)
        self._read: dict[Path, int] = {}  # journal -> bytes read
        self._offsets: list[int] = []  # sorted
        self._found: dict[int, Receipt] = {}  # by offset
        self._others: dict[int, set[Receipt]] = {}  # offset -> what contradicts the one that was found: damage
        self._journals: dict[Receipt, Path] = {}  # where each was read first
        self._end = 0  # receipts cover everything in front of it
        self._durable: dict[Path, int] = {}  # journal -> bytes known to be on the disk

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, receipt: Receipt, *, durable: bool) -> None:
        """Record that a segment is stored. The caller has made its bytes durable and holds the shared lock."""
        journal, length = self._journal.append(receipt, durable=durable)
        if durable:
            with self._mutex:
                self._durable[journal] = max(length, self._durable.get(journal, 0))

    def end(self, *, durable: bool) -> int:
        """The first byte that no receipt covers, in a stream whose receipts follow each other (bytes).

        With `durable` the receipts in front of it survive a power loss: who wrote one may have died before it could
        see to that. Raises FileNotFoundError when the folder is not there.
        """
        with self._mutex:
            self._refresh()
            while (following := self._alone_at(self._end)) is not None:
                self._end += following.length
            if durable:
                self._make_durable()
            return self._end

    def _alone_at(self, offset: int) -> Receipt | None:
        """The receipt there, unless there are several or it reaches into another: then none is believed."""
        receipt = self._found.get(offset)
        if receipt is None or offset in self._others:
            return None
        after = bisect_left(self._offsets, offset + 1)
        overlaps = after < len(self._offsets) and self._offsets[after] < offset + receipt.length
        return None if overlaps or receipt.length == 0 else receipt

    def _make_durable(self) -> None:
        behind = {journal: read for journal, read in self._read.items() if read > self._durable.get(journal, 0)}
        for journal in behind:
            descriptor = os.open(journal, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        if behind:
            sync_folder(self._folder)
        self._durable |= behind

    def receipts(self) -> list[Receipt]:
        """All receipts by offset. Raises FileNotFoundError when the folder is not there."""
        with self._mutex:
            self._refresh()
            if self._others:
                return sorted(self._journals)
            return list(map(self._found.__getitem__, self._offsets))

    def following(self, offset: int) -> list[Receipt]:
        """The receipts that lie one behind the other from `offset` on, up to the first hole or contradiction.

        Raises FileNotFoundError when the folder is not there.
        """
        with self._mutex:
            self._refresh()
            run: list[Receipt] = []
            while (receipt := self._found.get(offset)) is not None and offset not in self._others:
                if receipt.length == 0:
                    break
                run.append(receipt)
                offset += receipt.length
            return run

    def touching(self, segment: Segment) -> dict[Receipt, Path]:
        """The receipts that share a byte with `segment`, each with its journal."""
        with self._mutex:
            self._refresh()
            start = bisect_left(self._offsets, segment.offset)
            stop = bisect_left(self._offsets, segment.offset + max(1, segment.length))
            near = [receipt for offset in self._offsets[max(0, start - 1) : stop] for receipt in self._all_at(offset)]
            return {
                receipt: self._journals[receipt]
                for receipt in near
                if receipt.offset >= segment.offset or receipt.offset + receipt.length > segment.offset
            }

    def _all_at(self, offset: int) -> list[Receipt]:
        return [self._found[offset], *self._others.get(offset, ())]

    def _refresh(self) -> None:
        for _ in range(_TRIES):
            if self._read_on():
                return
            self._read.clear()
            self._offsets.clear()
            self._found.clear()
            self._others.clear()
            self._journals.clear()
            self._durable.clear()
            self._end = 0
        raise OSError("the receipts change all the time")

    def _read_on(self) -> bool:
        """Read what is new. False when a journal vanished or shrank, so what is known may be too much."""
        present = journals(self._folder)
        if not self._read.keys() <= set(present):
            return False
        for journal in present:
            known = self._read.get(journal, 0)
            try:
                fresh = _tail(journal, known)
            except FileNotFoundError:
                return False
            if fresh is None:
                return False
            self._read[journal] = known + RECORD_SIZE * self._add(journal, fresh)
        return True

    def _add(self, journal: Path, content: bytes) -> int:
        found = unpack(content)
        fresh = [receipt for receipt in dict.fromkeys(found) if receipt not in self._journals]
        self._journals.update(dict.fromkeys(fresh, journal))
        offsets = []
        for receipt in fresh:
            if self._found.setdefault(receipt.offset, receipt) is receipt:
                offsets.append(receipt.offset)
            else:
                self._others.setdefault(receipt.offset, set()).add(receipt)
        if len(offsets) > FEW:
            self._offsets = sorted(self._offsets + offsets)
        else:
            for offset in offsets:
                insort(self._offsets, offset)
        return len(found)


def _tail(journal: Path, known: int) -> bytes | None:
    """What follows the `known` bytes; None when there is less. Opened every time: on NFS only that shows the size."""
    descriptor = os.open(journal, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        if size < known:
            return None
        return os.pread(descriptor, size - known, known) if size > known else b""
    finally:
        os.close(descriptor)


class Ledgers:
    """The ledgers of the uploads used last, bounded by uploads and by receipts."""

    def __init__(self, most_uploads: int = MOST_UPLOADS, most_receipts: int = MOST_RECEIPTS) -> None:
        self._most_uploads = most_uploads
        self._most_receipts = most_receipts
        self._mutex = threading.Lock()
        self._ledgers: OrderedDict[Path, Ledger] = OrderedDict()

    def of(self, folder: Path) -> Ledger:
        with self._mutex:
            if folder not in self._ledgers:
                self._ledgers[folder] = Ledger(folder)
            self._ledgers.move_to_end(folder)
            ledger = self._ledgers[folder]
            self._trim()
            return ledger

    def forget(self, folder: Path) -> None:
        with self._mutex:
            self._ledgers.pop(folder, None)

    def _trim(self) -> None:
        total = sum(map(len, self._ledgers.values()))
        while len(self._ledgers) > 1 and (len(self._ledgers) > self._most_uploads or total > self._most_receipts):
            _, oldest = self._ledgers.popitem(last=False)
            total -= len(oldest)
