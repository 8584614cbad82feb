"""From an upload to a file: stop writers, read back, make durable, rename. All calls block: one run, in a thread.

What a crash leaves, and what the next run finds:

- before the rename: the upload as it was; receipts of damaged chunks that were put away stay away;
- after the rename: no data, but the target and the receipts; the target is verified where it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from common.chunking import ChunkPlan, ranges_of
from common.digests import CRC_64, SHA_256, Digests, combine_crc64, crc64_bytes, differing
from common.errors import ChunksDamaged, FileDigestMismatch, LeaseLost, StorageUnavailable
from common.storage.base import Durability, Receipt, SealedObject, SealPlan, SealWatch, Segment, Verify
from common.storage.durable import Folders, is_at, sync_folder
from common.storage.journal import FILE_MODE, replace_journals
from common.storage.layout import UploadPaths
from common.storage.locks import take_alone
from common.storage.readback import read_back
from common.storage.receipts import Ledger
from common.storage.tiling import chunks_in, tile

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
        """None when the data was taken elsewhere while the writers were stopped."""
        try:
            data = os.open(self._paths.data, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            self._stop_writers(data)
            return self._seal(data) if is_at(data, self._paths.data) else None
        finally:
            os.close(data)

    def _seal(self, data: int) -> SealedObject:
        receipts = self._ledger.receipts()
        tiling = tile(receipts, self._plan.size)
        if tiling.holes:
            raise self._damaged(tiling.holes, receipts, keep=tiling.pieces)
        if os.fstat(data).st_size > self._plan.size:
            os.ftruncate(data, self._plan.size)  # a stream of unknown length that was cut left more than it counts
        bad, sealed = self._examine(data, tiling.pieces)
        if bad:
            good = [piece for piece in tiling.pieces if piece not in bad]
            raise self._damaged([(piece.offset, piece.offset + piece.length) for piece in bad], receipts, keep=good)
        self._compare_declared(sealed.digests)
        self._make_durable(data, receipts)
        self._publish(data)
        return sealed

    def _stop_writers(self, data: int) -> None:
        deadline = time.monotonic() + LOCK_WAIT
        while not take_alone(data):
            if self._watch.stop.wait(LOCK_PAUSE):
                raise LeaseLost("The verification was stopped.")
            if time.monotonic() > deadline:
                raise StorageUnavailable("Chunks of this upload are still being written; it is sealed after them.")

    def _examine(self, descriptor: int, pieces: Sequence[Receipt]) -> tuple[set[Receipt], SealedObject]:
        """The pieces whose bytes are not as received, and what the object is if there are none."""
        declared = set(self._plan.declared) - {CRC_64}
        if self._plan.verify == "receipts" and not declared:
            there = os.fstat(descriptor).st_size
            self._watch.progress(self._plan.size)
            return {p for p in pieces if p.offset + p.length > there}, self._object(pieces, {}, "receipts")
        segments = [Segment(piece.offset, piece.length) for piece in pieces]
        found = read_back(descriptor, segments, declared | {SHA_256}, self._watch)
        bad = {piece for piece, crc in zip(pieces, found.crcs, strict=True) if piece.crc64 != crc}
        return bad, self._object(pieces, found.digests, "read")

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

    def _make_durable(self, data: int, receipts: Sequence[Receipt]) -> None:
        if not self._durable:
            return
        try:
            os.fsync(data)
        except OSError as error:
            if not receipts:
                raise
            # Nobody knows which pages did not reach the disk, and the next fsync may call them clean.
            raise self._damaged([(0, self._plan.size)], receipts, keep=[]) from error

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
        self._target.chmod(FILE_MODE)
        self._target.rename(self._paths.data)

    def _damaged(
        self, spans: list[tuple[int, int]], receipts: Sequence[Receipt], *, keep: Sequence[Receipt]
    ) -> ChunksDamaged:
        """The error that names the chunks, after the receipts not in `keep` are put away."""
        if len(keep) < len(receipts):
            replace_journals(self._paths.folder, keep, durable=self._durable)
        chunks = chunks_in(spans, self._chunks)
        return ChunksDamaged(
            f"{len(chunks)} chunk(s) are not stored as they were received. Send them again, then finalize again.",
            chunks=chunks[:MOST_NAMED],
            ranges=ranges_of(chunks)[:MOST_NAMED],
        )
