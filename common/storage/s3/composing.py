"""From the pieces of a stream to parts of the multipart upload that becomes the file.

A part that is one piece is copied by the store; others are read and joined here: of a copied range some stores list a
wrong checksum. Parts are of one size, because some stores want that. Copying again gives the same bytes: a crash, or
two attempts at once, do no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from common.chunking import ChunkPlan
from common.digests import combine_crc64
from common.errors import LeaseLost, StorageUnavailable
from common.storage.base import SealWatch
from common.storage.s3.body import StreamBody
from common.storage.s3.context import Store
from common.storage.s3.reading import ObjectReader
from common.storage.s3.receipts import Part
from common.storage.s3.records import StoredPiece

AT_ONCE = 8  # parts on their way; a joined one holds two batches


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of an object in the bucket, from `skip` on; `whole`: all of it."""

    key: str
    skip: int
    length: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Cutting:
    """A part of the future file, from 1, and what it is made of. `crc64` is None where that is not whole pieces."""

    number: int
    length: int
    stretches: tuple[Stretch, ...]
    crc64: int | None

    def is_made(self, part: Part | None) -> bool:
        """Whether the store has it, as far as the store tells."""
        if part is None or part.size != self.length:
            return False
        return part.crc64 is None or self.crc64 is None or part.crc64 == self.crc64


def cut(pieces: Sequence[StoredPiece], plan: ChunkPlan) -> list[Cutting]:
    """Lay the parts over pieces that cover the file, by offset. Pure."""
    cuttings: list[Cutting] = []
    at = 0
    for index, (start, length) in enumerate(plan.segments()):
        first = at
        while at < len(pieces) and pieces[at].end <= start + length:
            at += 1
        inside = pieces[first : at + 1 if at < len(pieces) and pieces[at].offset < start + length else at]
        stretches = tuple(_within(piece, start, start + length) for piece in inside)
        whole = all(stretch.whole for stretch in stretches)
        crc64 = combine_crc64((piece.crc64, piece.length) for piece in inside) if whole else None
        cuttings.append(Cutting(index + 1, length, stretches, crc64))
    return cuttings


def _within(piece: StoredPiece, start: int, end: int) -> Stretch:
    first = max(piece.offset, start)
    length = min(piece.end, end) - first
    return Stretch(piece.key, first - piece.offset, length, length == piece.length)


class Composing:
    """One attempt to make the parts of one upload. The caller holds the lease."""

    def __init__(self, store: Store, target: str, watch: SealWatch) -> None:
        self._store = store
        self._target = target
        self._watch = watch

    async def run(self, multipart: str, cuttings: Iterable[Cutting]) -> None:
        """Raises FileNotFoundError (a piece, or the multipart upload, is gone), LeaseLost, StorageUnavailable."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def make(cutting: Cutting) -> None:
            async with slots:
                await self._make(cutting, {"Key": self._target, "UploadId": multipart, "PartNumber": cutting.number})

        try:
            async with asyncio.TaskGroup() as group:
                for cutting in cuttings:
                    group.create_task(make(cutting))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _make(self, cutting: Cutting, names: dict[str, Any]) -> None:
        if self._watch.stop.is_set() or not self._watch.held():
            raise LeaseLost("The lease ran out before the parts were put together.")
        if len(cutting.stretches) > 1 or not cutting.stretches[0].whole:
            await self._join(cutting, names)
            return
        source = {"Bucket": self._store.client.bucket, "Key": cutting.stretches[0].key}
        await self._store.client.call("upload_part_copy", CopySource=source, **names)

    async def _join(self, cutting: Cutting, names: dict[str, Any]) -> None:
        can = await self._store.capabilities()
        body = StreamBody(_Joined(self._store, cutting.stretches), cutting.length, _nothing)
        checksum = {"ChecksumAlgorithm": can.trailer} if can.trailer else {}
        try:
            await self._store.client.call("upload_part", Body=body, ContentLength=cutting.length, **names, **checksum)
        except (StorageUnavailable, FileNotFoundError):
            if body.error is not None:
                raise body.error from None
            raise
        finally:
            await body.aclose()


class _Joined:
    """Stretches behind each other, as the source of a part."""

    read_ahead = True

    def __init__(self, store: Store, stretches: Sequence[Stretch]) -> None:
        self.length = 0
        self.crc64 = 0
        self._store = store
        self._stretches = stretches

    async def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
        for stretch in self._stretches:
            reader = ObjectReader(self._store.client, stretch.key, stretch.skip, stretch.length)
            try:
                await reader.open()
                async for content in reader:
                    self.length += len(content)
                    yield [content]
            finally:
                await reader.aclose()


async def _nothing() -> None:
    """Nobody has to agree: the log says already what the bytes are."""
