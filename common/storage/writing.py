"""One write of one segment: its locks, its descriptors, its bytes, its receipt."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from common.errors import ChunkConflict, OffsetMismatch, TooManyAppends, UploadNotOpen
from common.storage.base import Receipt, Segment, Source
from common.storage.durable import is_at, write_at
from common.storage.layout import UploadPaths
from common.storage.locks import RangeLock, RangeLocks, let_go, share
from common.storage.receipts import Ledger
from common.storage.threads import Threads, settled

_BEING_FINALIZED = "The upload is being finalized; it takes no bytes now."
_ALL = 1 << 62  # bytes; further than any file goes

MOST_APPENDS = 50_000  # of one upload; each process that reads them needs 0.4 KB for one


class Writing:
    """All methods block: call them in threads, one at a time, and `close` at the end whatever happened.

    Order: `enter` until it says True, then either compare with `known`, or `write` batches and `commit` or `finish`.
    `append`: the segment must begin at the end of the stream, and nobody else appends meanwhile. `require_room`: asked
    for bytes (their number) beyond the size that the upload has declared, before they are written.
    """

    def __init__(
        self,
        paths: UploadPaths,
        segment: Segment,
        *,
        ledger: Ledger,
        ranges: RangeLocks,
        require_space: Callable[[], None],
        require_room: Callable[[int], None],
        durable: bool,
        append: bool = False,
    ) -> None:
        self.known: Receipt | None = None
        self._paths = paths
        self._segment = segment
        self._ledger = ledger
        self._ranges = ranges
        self._require_space = require_space
        self._require_room = require_room
        self._durable = durable
        self._append = append
        self._busy = threading.Lock()  # a descriptor is never closed while a thread uses it
        self._lock: RangeLock | None = None
        self._locks: int | None = None
        self._data: int | None = None

    def enter(self) -> bool:
        """Take the segment and the share in the data file; False while another connection has the segment.

        Raises FileNotFoundError (no such upload here), UploadNotOpen (it is being sealed), ChunkConflict (receipts
        lie across the segment's borders), OffsetMismatch (an append that does not begin at the end),
        InsufficientStorage.
        """
        with self._busy:
            if self._locks is None:
                self._locks = os.open(self._paths.locks, os.O_RDWR)
            length = _ALL - self._segment.offset if self._append else self._segment.length
            self._lock = self._ranges.take(self._locks, self._segment.offset, length)
            if self._lock is None:
                return False
            self._data = os.open(self._paths.data, os.O_RDWR)
            if not share(self._data):
                raise UploadNotOpen(_BEING_FINALIZED)
            self._check_in_place()
            if self._paths.sealing.exists():
                raise UploadNotOpen(_BEING_FINALIZED)
            if self._append:
                self._check_end()
            else:
                self._look_up()
            if self.known is None:
                self._require_space()
            else:
                let_go(self._data)  # who only compares must not keep a sealer waiting, least of all when it hangs
            return True

    def write(self, batch: Sequence[bytes], offset: int) -> int:
        """Put a batch in place; returns its bytes. Raises FileNotFoundError once the upload has been aborted,
        InsufficientStorage."""
        with self._busy:
            there = os.fstat(self._open_data)
            if there.st_nlink == 0:
                raise FileNotFoundError(self._paths.data)
            grown = offset + sum(map(len, batch)) - there.st_size
            if grown > 0:
                self._require_room(grown)
            return write_at(self._open_data, batch, offset)

    def commit(self, receipt: Receipt) -> None:
        """Make the bytes durable where every chunk has to be, then the receipt. An fsync that failed is the end:
        the kernel may call the same pages clean next time, so only writing them again makes them true."""
        with self._busy:
            if self._durable:
                os.fdatasync(self._open_data)
            self._check_in_place()
            self._ledger.append(receipt, durable=self._durable)

    def finish(self, receipt: Receipt) -> None:
        """`commit` and `close` in one: a call in a thread costs more than either."""
        try:
            self.commit(receipt)
        finally:
            self.close()

    @property
    def closed(self) -> bool:
        """Whether nothing is held."""
        return self._locks is None and self._data is None

    def close(self) -> None:
        """Let go of everything. The receipt, if any, stands."""
        with self._busy, ExitStack() as held:
            for descriptor in (self._locks, self._data):
                if descriptor is not None:
                    held.callback(os.close, descriptor)
            if self._lock is not None:
                held.callback(self._lock.release)
            self._locks = self._data = self._lock = None

    @property
    def _open_data(self) -> int:
        assert self._data is not None, "enter first"
        return self._data

    def _check_in_place(self) -> None:
        if not is_at(self._open_data, self._paths.data):
            raise FileNotFoundError(self._paths.data)  # aborted or published since it was opened

    def _check_end(self) -> None:
        end = self._ledger.end(durable=self._durable)
        if len(self._ledger) >= MOST_APPENDS:
            raise TooManyAppends(
                f"This upload consists of {MOST_APPENDS} appends already. Begin anew with larger ones."
            )
        if end != self._segment.offset:
            raise OffsetMismatch.at(end, self._segment.offset)

    def _look_up(self) -> None:
        touching = self._ledger.touching(self._segment)
        if not touching:
            return
        if any(receipt.offset != self._segment.offset for receipt in touching):
            raise ChunkConflict("These bytes overlap others that are stored already.")
        self.known, journal = next(iter(touching.items()))
        if self._durable:
            # Its writer may have died before it could: nobody may be told twice of what a power loss takes away.
            descriptor = os.open(journal, os.O_RDONLY)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)


async def receive(threads: Threads, writing: Writing, offset: int, source: Source) -> None:
    """While one batch is being written the next one is gathered: two batches in memory, one where it is short."""
    under_way: asyncio.Task[int] | None = None
    try:
        async for batch in source:
            if under_way is not None:
                await settled(under_way)
            under_way = threads.start(writing.write, batch, offset)
            offset += sum(map(len, batch))
            del batch  # written long before a slow client has filled the next one
            if not source.read_ahead:
                await settled(under_way)
                under_way = None
        if under_way is not None:
            await settled(under_way)
    finally:
        if under_way is not None:
            await _ended(under_way)


async def _ended(work: asyncio.Task[int]) -> None:
    """Wait for a write whose outcome does not matter any more: another error is on its way."""
    await settled(asyncio.ensure_future(asyncio.wait([work])))
    work.exception()
