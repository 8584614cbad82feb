"""Hashing an upload while the rest of it still arrives, so that its seal has less to do. All calls block.

Nothing that was read ahead is believed at the seal. The bytes may have gone bad since: they are read once more, and
their CRCs compared with the receipts. That is several times faster than hashing them, and done by several threads.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from common.digests import SHA_256, Crc64, StreamHasher
from common.errors import LeaseLost
from common.storage.base import Receipt, SealWatch, Segment
from common.storage.layout import UploadPaths
from common.storage.readback import PieceCrcs
from common.storage.receipts import Ledger
from common.storage.records import pack
from common.storage.uncached import UncachedReads

BUFFER_SIZE = 256 * 1024  # bytes; what was just copied is still in the processor's cache: twice as fast as 1 MiB
STEP = 64 * 1024 * 1024  # bytes hashed before others have their turn
CHECKERS = min(4, os.cpu_count() or 1)  # threads that read a prefix again


class HashedPrefix:
    """SHA-256 of the first `length` bytes of an upload: of its first `count` receipts."""

    def __init__(self, paths: UploadPaths, ledger: Ledger) -> None:
        self.length = 0
        self.count = 0
        self._paths = paths
        self._ledger = ledger
        self._hasher = StreamHasher([SHA_256])
        self._receipts = hashlib.sha256()

    def advance(self, stop: threading.Event) -> bool:
        """Hash what has arrived behind the prefix, about `STEP` at most; False where there is nothing (good) there.

        Raises FileNotFoundError when the upload is not (or no longer) here, OSError.
        """
        following = self._ledger.following(self.length)
        enough = self.length + STEP
        began = self.length
        descriptor = os.open(self._paths.data, os.O_RDONLY)
        try:
            for receipt in following:
                if self.length >= enough or not self._take(descriptor, receipt, stop):
                    break
        finally:
            os.close(descriptor)
        return self.length > began

    def _take(self, descriptor: int, receipt: Receipt, stop: threading.Event) -> bool:
        """Whether the piece is as it was received; what is not is left to the seal, which names it."""
        hasher, crc = self._hasher.copy(), Crc64()
        for buffer in _pieces_of(descriptor, receipt.offset, receipt.length):
            if stop.is_set():
                return False
            hasher.update(buffer)
            crc.update(buffer)
        if crc.value != receipt.crc64:
            return False
        self._hasher = hasher
        self._receipts.update(pack(receipt))
        self.length += receipt.length
        self.count += 1
        return True

    def serves(self, pieces: Sequence[Receipt], algorithms: set[str]) -> bool:
        """Whether these pieces begin with those that were hashed, and nothing else is to be computed."""
        if algorithms != {SHA_256} or not 0 < self.count <= len(pieces):
            return False
        same = hashlib.sha256(b"".join(map(pack, pieces[: self.count])))
        return same.digest() == self._receipts.digest()

    def hasher(self) -> StreamHasher:
        """One that goes on behind the prefix."""
        return self._hasher.copy()


class Checks:
    """The CRCs of pieces, once they are computed."""

    def __init__(self, shares: Sequence[Future[list[int | None]]]) -> None:
        self._shares = shares

    def crcs(self) -> list[int | None]:
        """In the order of the pieces; None where the file ended before the piece did. Raises LeaseLost, OSError."""
        return [crc for share in self._shares for crc in share.result()]


@contextmanager
def checking(descriptor: int, pieces: Sequence[Segment], watch: SealWatch) -> Iterator[Checks]:
    """Read pieces that follow each other without gaps, in threads, beside what the block does."""
    if not pieces:
        yield Checks([])
        return
    share = -(-len(pieces) // CHECKERS)
    shares = [pieces[start : start + share] for start in range(0, len(pieces), share)]
    with ThreadPoolExecutor(len(shares), thread_name_prefix="check") as threads:
        yield Checks([threads.submit(_crcs, descriptor, some, watch) for some in shares])


def _crcs(descriptor: int, pieces: Sequence[Segment], watch: SealWatch) -> list[int | None]:
    crcs = PieceCrcs(pieces)
    for buffer in _pieces_of(descriptor, pieces[0].offset, sum(piece.length for piece in pieces)):
        if watch.stop.is_set():
            raise LeaseLost("The verification was stopped.")
        crcs.update(buffer)
    return crcs.finished()


def _pieces_of(descriptor: int, start: int, length: int) -> Iterator[memoryview]:
    """`length` bytes from `start`, or as many as there are, in one buffer that is filled again and again."""
    buffer = memoryview(bytearray(min(length, BUFFER_SIZE)))
    reads = UncachedReads(descriptor)
    end = start + length
    while start < end and (count := reads.into([buffer[: end - start]], start)):
        yield buffer[:count]
        start += count
