"""The seal of a stream: close its log, make parts of its pieces, then as with every upload in parts.

Damage is found piece by piece. The log is cut in front of the first damaged one, and the client goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from common.digests import CRC_64
from common.errors import StorageUnavailable
from common.storage.base import Receipt, SealedObject, SealPlan, SealWatch
from common.storage.s3.composing import Composing, Cutting, cut
from common.storage.s3.context import Store
from common.storage.s3.receipts import Part, Receipts
from common.storage.s3.records import SealRecord, StoredPiece
from common.storage.s3.seal import LOOKS, Sealing, whole_crc64
from common.storage.s3.streams import Streams, receipts_of
from common.storage.s3.uploads import Upload, Uploads
from common.storage.s3.writing import Writer
from common.storage.tiling import Span, tile


class StreamSealing(Sealing):
    """One seal of one stream."""

    def __init__(
        self,
        store: Store,
        uploads: Uploads,
        receipts: Receipts,
        writer: Writer,
        streams: Streams,
        plan: SealPlan,
        watch: SealWatch,
    ) -> None:
        super().__init__(store, uploads, receipts, writer, plan, watch)
        self._streams = streams

    async def run(self, upload: Upload) -> SealedObject:
        """As `Sealing.run`."""
        pieces = await self._closed(upload)
        if not pieces:
            return await self._verified(upload, await self._place_single(upload))
        multipart = await self._uploads.multipart(upload, fresh=True)
        record = SealRecord.of(multipart, receipts_of(pieces))
        for _ in range(LOOKS):
            try:
                parts = await self._parts(upload, multipart, pieces)
            except FileNotFoundError:
                if await self._receipts.sealed(upload, multipart) is None:
                    raise
                return await self._verified(upload, record)
            self._check_held()
            await asyncio.shield(self._note(upload, record))
            if await self._complete(upload, multipart, parts, record):
                return await self._verified(upload, record)
        raise StorageUnavailable("The parts change all the time; the upload is sealed later.")

    async def _closed(self, upload: Upload) -> list[StoredPiece]:
        """All that was appended, and no more comes. Raises ChunksDamaged, FileDigestMismatch."""
        await self._streams.close(upload, self._plan.size)
        pieces = await self._streams.pieces(upload)
        receipts = receipts_of(pieces)
        holes = tile(receipts, self._plan.size).holes
        if holes:
            await self._take_back(upload, holes[0][0])
            raise self._damaged(holes)
        self._compare_declared({CRC_64: whole_crc64(receipts)})
        return pieces

    async def _parts(self, upload: Upload, multipart: str, pieces: Sequence[StoredPiece]) -> list[Part]:
        """Those of the file, the missing ones made. Raises FileNotFoundError where they are used up, ChunksDamaged
        where the store tells that they are not what was appended."""
        cuttings = cut(pieces, self._chunks)
        missing = await self._unmade(upload, multipart, cuttings)
        await Composing(self._store, self._target, self._watch).run(multipart, missing)
        bad = await self._unmade(upload, multipart, missing) if missing else []
        if bad:
            spans = [self._span(cutting) for cutting in bad]
            first, _ = spans[0]
            await self._take_back(upload, max(piece.offset for piece in pieces if piece.offset <= first))
            raise self._damaged(spans)
        parts = await self._receipts.parts(upload, multipart)
        return [part for part in parts if part.number <= len(cuttings)]

    def _span(self, cutting: Cutting) -> Span:
        start = self._chunks.offset(cutting.number - 1)
        return start, start + cutting.length

    async def _unmade(self, upload: Upload, multipart: str, cuttings: Sequence[Cutting]) -> list[Cutting]:
        there = {part.number: part for part in await self._receipts.parts(upload, multipart)}
        return [cutting for cutting in cuttings if not cutting.is_made(there.get(cutting.number))]

    async def _take_back(self, upload: Upload, offset: int) -> None:
        """The stream goes on at `offset`; what was made of it counts no more, also if it is being made still."""
        self._check_held()
        upload.multipart = await self._uploads.new_multipart(upload)
        await self._store.client.call("put_object", Key=upload.keys.multipart, Body=upload.multipart.encode())
        await self._store.client.call("delete_object", Key=self._target)
        await self._streams.cut(upload, offset)

    def _wanted(self, record: SealRecord) -> set[int]:
        del record  # its pieces are not parts
        return set(range(1, self._chunks.count + 1))

    async def _give_back(self, upload: Upload, pieces: Sequence[Receipt], bad: Collection[Receipt]) -> list[Receipt]:
        await self._take_back(upload, min(bad).offset)
        return [piece for piece in pieces if piece in bad]
