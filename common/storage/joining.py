"""Partial uploads become one: their bytes are copied behind each other by the kernel. All calls block.

`copy_file_range` shares the blocks where the file system can (XFS, Btrfs, NFS 4.2 on the server's side) and copies
them inside the kernel otherwise. Receipts are those of the parts, moved to their new places, written after the bytes
are as safe as after any write. After a crash at any point the next run goes on with the part that it finds incomplete;
two runs at once write the same bytes to the same places.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.digests import combine_crc64
from common.errors import ChunksMissing, LeaseLost, StorageUnavailable
from common.storage.base import Receipt, SealWatch
from common.storage.durable import is_at
from common.storage.folder import widen
from common.storage.inventory import Promises
from common.storage.layout import UploadPaths
from common.storage.receipts import Ledger
from common.storage.tiling import tile

STEP = 64 * 1024 * 1024  # bytes between two looks at the lease: a tenth of a second of copying
_NOT_BETWEEN_THESE = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Piece:
    """A partial upload of `size` bytes."""

    paths: UploadPaths
    ledger: Ledger
    size: int


class Joining:
    """One attempt to fill an upload with the bytes of others."""

    def __init__(
        self,
        paths: UploadPaths,
        ledger: Ledger,
        watch: SealWatch,
        *,
        promises: Promises,
        require_space: Callable[[int], None],
        durable: bool,
    ) -> None:
        self._paths = paths
        self._ledger = ledger
        self._watch = watch
        self._promises = promises
        self._require_space = require_space
        self._durable = durable

    def run(self, pieces: Sequence[Piece]) -> None:
        """Raises FileNotFoundError (a part, or the upload, is not here), ChunksMissing (a part is not whole),
        InsufficientStorage, LeaseLost, StorageUnavailable, OSError."""
        there = self._ledger.receipts()
        size = sum(piece.size for piece in pieces)
        if not tile(there, size).holes:
            return  # all is here, or sealed already
        widen(self._paths, size, promises=self._promises)  # where a part had no size yet when it began
        data = os.open(self._paths.data, os.O_RDWR)
        try:
            start = 0
            for piece in pieces:
                self._place(data, piece, start, set(there))
                start += piece.size
        finally:
            os.close(data)

    def _place(self, data: int, piece: Piece, start: int, there: set[Receipt]) -> None:
        tiling = tile(piece.ledger.receipts(), piece.size)
        if tiling.holes:
            raise ChunksMissing("A part of this upload has not arrived whole.")
        # one receipt for all: a part of many small appends may stand in a final upload many times
        whole = combine_crc64((receipt.crc64, receipt.length) for receipt in tiling.pieces)
        receipt = Receipt(start, piece.size, whole)
        if piece.size == 0 or receipt in there:
            return
        self._require_space(piece.size)
        source = os.open(piece.paths.data, os.O_RDONLY)
        try:
            self._copy(source, data, start, piece.size)
        finally:
            os.close(source)
        if self._durable:
            os.fdatasync(data)
        self._check(data)
        self._ledger.append(receipt, durable=self._durable)

    def _copy(self, source: int, data: int, start: int, size: int) -> None:
        done = 0
        while done < size:
            self._check(data)
            count = _copied(source, done, data, start + done, min(STEP, size - done))
            if count == 0:
                raise StorageUnavailable("A part of this upload is shorter than its receipts say.")
            done += count

    def _check(self, data: int) -> None:
        if self._watch.stop.is_set() or not self._watch.held():
            raise LeaseLost("The lease ran out before the parts were put together.")
        if not is_at(data, self._paths.data):
            raise FileNotFoundError(self._paths.data)  # aborted, or sealed by another attempt


def _copied(source: int, at: int, data: int, to: int, count: int) -> int:
    """Copy up to `count` bytes; how many it were."""
    try:
        return os.copy_file_range(source, data, count, at, to)
    except OSError as error:
        if error.errno not in _NOT_BETWEEN_THESE:
            raise
    os.lseek(data, to, os.SEEK_SET)
    return os.sendfile(data, source, at, count)
