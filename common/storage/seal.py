"""From an upload to a file: stop writers, read back, make durable, rename. All calls block: one run, in a thread.

What a crash leaves, and what the next run finds:

- before the rename: the upload with a mark that keeps writers away (`sealmark`); receipts of damaged chunks that were
  put away stay away;
- after the rename: no data, but the target and the receipts; the target is verified where it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from common.chunking import ChunkPlan, ranges_of
from common.digests import CRC_64, SHA_256, Digests, StreamHasher, combine_crc64, crc64_bytes, differing
from common.errors import ChunksDamaged, FileDigestMismatch, LeaseLost, StorageUnavailable
from common.storage.ahead import HashedPrefix, checking
from common.storage.base import Durability, Receipt, SealedObject, SealPlan, SealWatch, Segment, Verify
from common.storage.durable import Folders, is_at, sync_folder
from common.storage.journal import FILE_MODE, replace_journals
from common.storage.layout import UploadPaths
from common.storage.locks import let_go, take_alone
from common.storage.readback import read_back
from common.storage.receipts import Ledger
from common.storage.sealmark import SealMark
from common.storage.tiling import Span, chunks_in, leading, tile

PUBLISHED_MODE = 0o444
LOCK_WAIT = 10.0  # seconds for writers to end; those left then are slow clients, and the job comes again
LOCK_PAUSE = 0.05  # seconds between tries
LOOKS = 3  # data, then target, then data that was taken back from the target
MOST_NAMED = 1000  # chunks and ranges that an error lists


class Sealing:
    """One seal of one upload."""

    def __init__(
        self,
        paths: UploadPaths,
        target: Path,
        plan: SealPlan,
        watch: SealWatch,
        *,
        ledger: Ledger,
        folders: Folders,
        durability: Durability,
    ) -> None:
        self._paths = paths
        self._target = target
        self._plan = plan
        self._chunks = ChunkPlan(plan.size, plan.chunk_size)
        self._watch = watch
        self._ledger = ledger
        self._folders = folders
        self._durable = durability != "none"

    def run(self) -> SealedObject:
        """Raises ChunksDamaged, FileDigestMismatch, FileNotFoundError, LeaseLost, StorageUnavailable, OSError."""
        for _ in range(LOOKS):
            sealed = self._seal_data() if self._paths.data.exists() else self._verify_target()
            if sealed is not None:
                return sealed
        raise StorageUnavailable("The upload is being sealed or aborted by somebody else; look again later.")

    def _seal_data(self) -> SealedObject | None:
        """None when the data was taken elsewhere meanwhile."""
        try:
            data = os.open(self._paths.data, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            self._have_alone(data)
            if not is_at(data, self._paths.data):
                return None
            with closing(SealMark(self._paths)) as mark:
                return self._seal(data, mark)
        finally:
            os.close(data)

    def _seal(self, data: int, mark: SealMark) -> SealedObject | None:
        receipts = self._ledger.receipts()
        tiling = tile(receipts, self._plan.size)
        if tiling.holes:
            raise self._damaged(mark, tiling.holes, receipts, keep=self._worth_keeping(tiling.pieces))
        if os.fstat(data).st_size > self._plan.size:
            os.ftruncate(data, self._plan.size)  # a stream of unknown length that was cut left more than it counts
        mark.put_up()
        let_go(data)
        bad, sealed = self._examine(data, tiling.pieces)
        if not bad:
            self._compare_declared(sealed.digests)
            if not self._is_durable(data):
                bad = set(tiling.pieces)  # nobody knows which of them reached the disk
        if not self._have_alone_again(data, mark):
            return None
        if bad:
            spans = [(piece.offset, piece.offset + piece.length) for piece in bad]
            good = [piece for piece in tiling.pieces if piece not in bad]
            raise self._damaged(mark, spans, receipts, keep=self._worth_keeping(good))
        self._publish(data)
        return sealed

    def _have_alone(self, data: int) -> None:
        deadline = time.monotonic() + LOCK_WAIT
        while not take_alone(data):
            if self._watch.stop.wait(LOCK_PAUSE):
                raise LeaseLost("The verification was stopped.")
            if time.monotonic() > deadline:
                raise StorageUnavailable("Chunks of this upload are still being written; it is sealed after them.")
        self._check_held()

    def _check_held(self) -> None:
        """A process that hung may be late by hours: the upload can be open again, with other chunks."""
        if not self._watch.held():
            raise LeaseLost("The lease ran out before the file was sealed.")

    def _have_alone_again(self, data: int, mark: SealMark) -> bool:
        """False when the data was taken elsewhere. Raises LeaseLost when writers may have come in meanwhile."""
        self._have_alone(data)
        if not is_at(data, self._paths.data):
            return False
        if not mark.stands():
            raise LeaseLost("Another attempt has found damage and taken chunks again.")
        return True

    def _examine(self, descriptor: int, pieces: Sequence[Receipt]) -> tuple[set[Receipt], SealedObject]:
        """The pieces whose bytes are not as received, and what the object is if there are none."""
        declared = set(self._plan.declared) - {CRC_64}
        if self._plan.verify == "receipts" and not declared:
            there = os.fstat(descriptor).st_size
            self._watch.progress(self._plan.size)
            return {p for p in pieces if p.offset + p.length > there}, self._object(pieces, {}, "receipts")
        segments = [Segment(piece.offset, piece.length) for piece in pieces]
        hashed, whole = self._hashed_ahead(pieces, declared | {SHA_256})
        with checking(descriptor, segments[:hashed], self._watch) as prefix:
            found = read_back(descriptor, segments[hashed:], whole, self._watch)
        crcs = [*prefix.crcs(), *found.crcs]
        bad = {piece for piece, crc in zip(pieces, crcs, strict=True) if piece.crc64 != crc}
        return bad, self._object(pieces, found.digests, "read")

    def _hashed_ahead(self, pieces: Sequence[Receipt], algorithms: set[str]) -> tuple[int, StreamHasher]:
        """How many of the pieces were hashed before, and what goes on behind them."""
        prefix = self._plan.prefix
        if isinstance(prefix, HashedPrefix) and prefix.serves(pieces, algorithms):
            return prefix.count, prefix.hasher()
        return 0, StreamHasher(algorithms)

    def _object(self, pieces: Sequence[Receipt], digests: Digests, verified: Verify) -> SealedObject:
        whole = crc64_bytes(combine_crc64((piece.crc64, piece.length) for piece in pieces))
        return SealedObject(self._plan.target, self._plan.size, {**digests, CRC_64: whole}, verified)

    def _compare_declared(self, digests: Digests) -> None:
        wrong = differing(self._plan.declared, digests)
        if wrong:
            raise FileDigestMismatch(
                f"The file is stored as it was received, but its {', '.join(wrong)} is not the declared one. "
                "Check the file and upload it again.",
                algorithms=wrong,
            )

    def _is_durable(self, data: int) -> bool:
        """False after a failed sync of received bytes: the next fsync may call pages clean that were never written."""
        if not self._durable:
            return True
        try:
            os.fsync(data)
        except OSError:
            if self._plan.size == 0:
                raise
            return False
        return True

    def _publish(self, data: int) -> None:
        self._folders.ensure(self._target.parent, durable=self._durable)
        self._paths.data.rename(self._target)
        os.fchmod(data, PUBLISHED_MODE)
        self._make_names_durable()

    def _make_names_durable(self) -> None:
        if self._durable:
            sync_folder(self._target.parent)
            sync_folder(self._paths.folder)

    def _verify_target(self) -> SealedObject | None:
        """After a crash behind the rename: the same answer. None when the file was bad and is an upload again."""
        descriptor = os.open(self._target, os.O_RDONLY)
        try:
            tiling = tile(self._ledger.receipts(), self._plan.size)
            bad, sealed = self._examine(descriptor, tiling.pieces) if not tiling.holes else (set(), None)
            if sealed is None or bad or differing(self._plan.declared, sealed.digests):
                self._take_back()
                return None
            os.fchmod(descriptor, PUBLISHED_MODE)
            self._make_names_durable()
            return sealed
        finally:
            os.close(descriptor)

    def _take_back(self) -> None:
        """It went bad after it was verified, and no row names it yet: back to where chunks can be sent again."""
        self._check_held()
        self._target.chmod(FILE_MODE)
        self._target.rename(self._paths.data)

    def _worth_keeping(self, good: Sequence[Receipt]) -> Sequence[Receipt]:
        """A stream goes on at its end: what lies behind a hole would be in the way."""
        return leading(good) if self._plan.stream else good

    def _damaged(
        self, mark: SealMark, spans: list[Span], receipts: Sequence[Receipt], *, keep: Sequence[Receipt]
    ) -> ChunksDamaged:
        """The error that names the chunks, after the receipts not in `keep` are put away and writers may come again."""
        if len(keep) < len(receipts):
            replace_journals(self._paths.folder, keep, durable=self._durable)
        mark.take_down(durable=self._durable)
        chunks = chunks_in(spans, self._chunks)
        return ChunksDamaged(
            f"{len(chunks)} chunk(s) are not stored as they were received. Send them again, then finalize again.",
            chunks=chunks[:MOST_NAMED],
            ranges=ranges_of(chunks)[:MOST_NAMED],
        )
