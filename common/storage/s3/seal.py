"""From parts to a file: check what is there, complete, look what came of it, read it back.

What a crash leaves, and what the next run finds:

- before the Complete: the parts, and perhaps a record of what was to be put together; it is written anew;
- behind it: no parts, but the object and the record: it is verified where it is;
- a seal that found damage gives the good chunks back as parts of another multipart upload (`restore`).

Nobody has to be kept away: a Complete names the parts and their ETags, and the multipart upload is gone afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

from common.chunking import ChunkPlan, ranges_of
from common.digests import CRC_64, SHA_256, Digests, combine_crc64, crc64_bytes, differing
from common.errors import ChunksDamaged, FileDigestMismatch, LeaseLost, StorageUnavailable
from common.storage.base import Receipt, SealedObject, SealPlan, SealWatch, Verify
from common.storage.s3.client import PRECONDITION, Refusal
from common.storage.s3.context import Store
from common.storage.s3.probe import b64_crc64
from common.storage.s3.receipts import Part, Receipts
from common.storage.s3.records import SealRecord
from common.storage.s3.restore import Restoring
from common.storage.s3.uploads import Upload, Uploads
from common.storage.s3.verify import read_object
from common.storage.s3.writing import Writer
from common.storage.tiling import Span, chunks_in, tile

LOOKS = 3  # parts, then the object, then parts that were given back
SETTLING = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between looks for an object that a Complete is making
MOST_NAMED = 1000  # chunks and ranges that an error lists
CHANGED = frozenset({"InvalidPart", "InvalidPartOrder", "BadDigest"})
SINGLE_OBJECT = "single"  # stands for the multipart upload in the record of an upload without parts


class Sealing:
    """One seal of one upload."""

    def __init__(
        self, store: Store, uploads: Uploads, receipts: Receipts, writer: Writer, plan: SealPlan, watch: SealWatch
    ) -> None:
        self._store = store
        self._uploads = uploads
        self._receipts = receipts
        self._writer = writer
        self._plan = plan
        self._chunks = ChunkPlan(plan.size, plan.chunk_size)
        self._watch = watch
        self._target = store.keys.object(plan.target)

    async def run(self, upload: Upload) -> SealedObject:
        """Raises ChunksDamaged, FileDigestMismatch, FileNotFoundError, LeaseLost, StorageUnavailable."""
        multipart = await self._uploads.recorded(upload)
        if upload.begun.single or (multipart is None and not upload.begun.direct):
            return await self._verified(upload, await self._place_single(upload))
        multipart = multipart or await self._uploads.multipart(upload)
        upload.multipart = multipart
        for _ in range(LOOKS):
            try:
                parts = await self._receipts.parts(upload, multipart)
            except FileNotFoundError:
                record = await self._receipts.sealed(upload, multipart)
                if record is None:
                    raise
                return await self._verified(upload, record)
            record = await self._record(upload, multipart, parts)
            if await self._complete(upload, multipart, parts, record):
                return await self._verified(upload, record)
        raise StorageUnavailable("The parts change all the time; the upload is sealed later.")

    # --- an upload of one chunk -----------------------------------------------------------------------------------

    async def _place_single(self, upload: Upload) -> SealRecord:
        receipt = await self._receipts.single(upload)
        if receipt is None and self._plan.whole is not None and self._plan.whole.length > 0:
            raise FileNotFoundError(upload.keys.data)  # its gateway has begun it and not stored it yet
        pieces = self._tiled([receipt] if receipt is not None else [])
        if pieces is None:
            await self._writer.put_away(upload, [0])
            raise self._damaged([(0, self._plan.size)])
        record = SealRecord.of(SINGLE_OBJECT, pieces)
        self._compare_declared({CRC_64: whole_crc64(pieces)})
        self._check_held()
        if pieces:
            source = {"Bucket": self._store.client.bucket, "Key": upload.keys.data}
            await self._store.client.call("copy_object", Key=self._target, CopySource=source)
        else:
            await self._store.client.call("put_object", Key=self._target, Body=b"")
        return record

    # --- parts ------------------------------------------------------------------------------------------------------

    async def _record(self, upload: Upload, multipart: str, parts: Sequence[Part]) -> SealRecord:
        """What will be put together, written down before it is. Raises ChunksDamaged, FileDigestMismatch."""
        receipts = await self._receipts.counting(upload, parts)
        pieces = self._tiled(receipts.values())
        if pieces is None:
            tiling = tile(receipts.values(), self._plan.size)
            raise self._damaged(tiling.holes)
        self._compare_declared({CRC_64: whole_crc64(pieces)})
        record = SealRecord.of(multipart, pieces)
        self._check_held()
        await asyncio.shield(self._note(upload, record))  # who is cancelled may have sent it
        return record

    async def _note(self, upload: Upload, record: SealRecord) -> None:
        """Raises FileNotFoundError where another attempt has finished meanwhile and its upload was removed."""
        await self._store.client.call("put_object", Key=upload.keys.seal, Body=record.pack())
        await self._uploads.require_for(upload, upload.keys.seal)

    async def _complete(self, upload: Upload, multipart: str, parts: Sequence[Part], record: SealRecord) -> bool:
        """False where the parts have changed meanwhile. An unknown outcome is looked up."""
        self._check_held()
        can = await self._store.capabilities()
        conditions: dict[str, Any] = {"IfNoneMatch": "*"} if can.conditional_complete else {}
        if can.whole_crc64:
            whole = int.from_bytes(whole_crc64(record.pieces), "big")
            conditions |= {"ChecksumCRC64NVME": b64_crc64(whole), "ChecksumType": "FULL_OBJECT"}
        wanted = self._wanted(record)
        named = [_named(part, listed=can.listed_crc64) for part in parts if part.number in wanted]
        try:
            await self._store.client.call(
                "complete_multipart_upload", Key=self._target, UploadId=multipart,
                MultipartUpload={"Parts": named}, handled=CHANGED | PRECONDITION, **conditions,
            )  # fmt: skip
            return True
        except FileNotFoundError:
            return True  # another attempt has, or the answer was lost
        except Refusal as refusal:
            return refusal.code in PRECONDITION and await self._is_used_up(upload, multipart, stale=True)
        except StorageUnavailable:
            if await self._is_used_up(upload, multipart):
                return True
            raise

    def _wanted(self, record: SealRecord) -> set[int]:
        """The parts that make the file."""
        return {piece.offset // self._plan.chunk_size + 1 for piece in record.pieces}

    async def _is_used_up(self, upload: Upload, multipart: str, *, stale: bool = False) -> bool:
        """Whether a Complete has happened. `stale`: an object stands in its way that an interrupted `restore` left."""
        try:
            await self._receipts.part(upload, multipart, 1)
        except FileNotFoundError:
            return True
        if stale:
            self._check_held()
            await self._store.client.call("delete_object", Key=self._target)
        return False

    # --- verification -----------------------------------------------------------------------------------------------

    async def _verified(self, upload: Upload, record: SealRecord) -> SealedObject:
        pieces = record.pieces
        if self._tiled(pieces) is None:
            raise FileNotFoundError("the record is of another size")
        bad, sealed = await self._examined(pieces)
        if bad:
            self._check_held()
            lost = await self._give_back(upload, pieces, bad)
            raise self._damaged([(piece.offset, piece.offset + piece.length) for piece in lost])
        self._compare_declared(sealed.digests)
        return sealed

    async def _give_back(self, upload: Upload, pieces: Sequence[Receipt], bad: Collection[Receipt]) -> list[Receipt]:
        """Make a bad object an upload again; the pieces that have to be sent again."""
        restoring = Restoring(self._store, self._uploads, self._writer, self._target, self._watch)
        return await restoring.run(upload, pieces, bad)

    async def _examined(self, pieces: Sequence[Receipt]) -> tuple[set[Receipt], SealedObject]:
        """While another attempt's Complete is under way, the parts are gone already and the object is not there yet."""
        for pause in SETTLING:
            with suppress(FileNotFoundError):
                return await self._examine(pieces)
            await asyncio.sleep(pause)
        raise StorageUnavailable("The parts are used up and the file is not there yet; look again later.")

    async def _examine(self, pieces: Sequence[Receipt]) -> tuple[set[Receipt], SealedObject]:
        """The pieces whose bytes are not as received, and what the object is if there are none."""
        declared = set(self._plan.declared) - {CRC_64}
        if self._plan.verify == "receipts" and not declared:
            head = await self._store.client.call("head_object", Key=self._target, ChecksumMode="ENABLED")
            told = head.get("ChecksumCRC64NVME")
            whole = b64_crc64(int.from_bytes(whole_crc64(pieces), "big"))
            # the store's own word, where it gives one for the whole object and not for its parts
            right = told is None or told == whole or head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT"
            if int(head["ContentLength"]) == self._plan.size and right:
                self._watch.progress(self._plan.size)
                return set(), self._object(pieces, {}, "receipts")
        found = await read_object(self._store.client, self._target, pieces, declared | {SHA_256}, self._watch)
        bad = {piece for piece, crc in zip(pieces, found.crcs, strict=True) if piece.crc64 != crc}
        return bad, self._object(pieces, found.digests, "read")

    def _object(self, pieces: Sequence[Receipt], digests: Digests, verified: Verify) -> SealedObject:
        return SealedObject(self._plan.target, self._plan.size, {**digests, CRC_64: whole_crc64(pieces)}, verified)

    def _tiled(self, receipts: Iterable[Receipt]) -> list[Receipt] | None:
        """The receipts in order; None where they leave holes."""
        tiling = tile(receipts, self._plan.size)
        return None if tiling.holes else tiling.pieces

    def _compare_declared(self, digests: Digests) -> None:
        wrong = differing(self._plan.declared, digests)
        if wrong:
            raise FileDigestMismatch(
                f"The file is stored as it was received, but its {', '.join(wrong)} is not the declared one. "
                "Check the file and upload it again.",
                algorithms=wrong,
            )

    def _check_held(self) -> None:
        if not self._watch.held():
            raise LeaseLost("The lease ran out before the file was sealed.")

    def _damaged(self, spans: Iterable[Span]) -> ChunksDamaged:
        chunks = chunks_in(spans, self._chunks)
        return ChunksDamaged(
            f"{len(chunks)} chunk(s) are not stored as they were received. Send them again, then finalize again.",
            chunks=chunks[:MOST_NAMED],
            ranges=ranges_of(chunks)[:MOST_NAMED],
        )


def whole_crc64(pieces: Iterable[Receipt]) -> bytes:
    """CRC-64/NVME of the file that these make."""
    return crc64_bytes(combine_crc64((piece.crc64, piece.length) for piece in pieces))


def _named(part: Part, *, listed: bool) -> dict[str, Any]:
    named: dict[str, Any] = {"PartNumber": part.number, "ETag": part.etag}
    if listed and part.crc64 is not None:
        named["ChecksumCRC64NVME"] = b64_crc64(part.crc64)
    return named
