"""The verbs of `common.storage.base.Storage` on an S3 bucket. See the package for its manual."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from common.bucket import parse_bucket_url
from common.settings import StorageSettings
from common.storage.base import (
    ChunkLimits,
    ObjectKey,
    Receipt,
    SealedObject,
    SealPlan,
    SealWatch,
    Segment,
    Source,
    UploadKey,
    UploadShape,
    Whole,
)
from common.storage.presigning import PresignedChunk
from common.storage.s3 import listing
from common.storage.s3.appending import Appender
from common.storage.s3.client import Client
from common.storage.s3.context import Store
from common.storage.s3.keys import Keys
from common.storage.s3.probe import Capabilities
from common.storage.s3.reading import ObjectReader
from common.storage.s3.receipts import Claims, Receipts
from common.storage.s3.seal import Sealing
from common.storage.s3.streams import Streams, receipts_of
from common.storage.s3.streamseal import StreamSealing
from common.storage.s3.uploads import Uploads, remove_multiparts
from common.storage.s3.writing import Writer, unmeasured_part
from common.storage.streaming import Piece

LARGEST_PART = 5 * 1024**3  # bytes; the limit of S3
WRITABLE_LIVES = 30.0  # seconds: a probe that writes costs money, and probes come every few seconds


class S3Storage:
    """`Storage`, `Lists`, `PresignsChunks` and `Identifies` of `common.storage.base`, in one bucket."""

    def __init__(self, settings: StorageSettings) -> None:
        bucket = parse_bucket_url(settings.storage_url)
        self._settings = settings
        self._client = Client(bucket, settings, settings.s3_endpoint_url)
        self._signer = Client(bucket, settings, settings.s3_public_url) if settings.s3_public_url else self._client
        self._store = Store(self._client, Keys(bucket.prefix), settings)
        self._uploads = Uploads(self._store)
        self._claims = Claims(self._store)
        self._receipts = Receipts(self._store, self._claims)
        self._writer = Writer(self._store, self._uploads, self._claims, self._receipts)
        self._streams = Streams(self._store, self._uploads)
        self._appender = Appender(
            self._store, self._uploads, self._streams, self._writer.slots, unmeasured_part(settings)
        )
        self._written_at = float("-inf")

    @property
    def chunk_limits(self) -> ChunkLimits:
        smallest = self._settings.s3_min_part
        return ChunkLimits(smallest, LARGEST_PART, self._settings.s3_max_parts, unmeasured_part(self._settings))

    async def capabilities(self) -> Capabilities:
        """What the store can do, as probed by the first call. Raises StorageUnavailable."""
        return await self._store.capabilities()

    async def begin(self, upload: UploadKey, shape: UploadShape) -> None:
        await self._store.check()
        await self._uploads.begin(upload, shape)

    async def write(self, upload: UploadKey, segment: Segment, source: Source) -> Receipt:
        await self._store.check()
        receipt = await self._writer.write(upload, segment, source)
        self._written_at = time.monotonic()
        return receipt

    def piece(self, chunk_size: int, offset: int) -> Piece:
        return self._appender.piece(chunk_size, offset)

    async def end(self, upload: UploadKey) -> int:
        await self._store.check()
        return await self._streams.end(upload)

    async def widen(self, upload: UploadKey, size: int) -> None:
        """A store promises no room."""

    async def append(self, upload: UploadKey, segment: Segment, source: Source) -> Receipt:
        await self._store.check()
        receipt = await self._appender.append(upload, segment, source)
        self._written_at = time.monotonic()
        return receipt

    async def concatenate(self, upload: UploadKey, parts: Sequence[tuple[UploadKey, int]], watch: SealWatch) -> None:
        await self._store.check()
        await self._streams.join(await self._uploads.look(upload), parts, watch)

    async def put(self, wholes: Sequence[Whole]) -> list[Receipt | Exception]:
        await self._store.check()
        found = await asyncio.gather(*map(self._put, wholes), return_exceptions=True)
        for outcome in found:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
        return [outcome for outcome in found if isinstance(outcome, (Receipt, Exception))]

    async def _put(self, whole: Whole) -> Receipt:
        await self._uploads.begin(whole.upload, whole.shape)
        return await self._writer.put(whole.upload, b"".join(whole.batch), whole.crc64)

    async def receipts(self, upload: UploadKey) -> list[Receipt]:
        await self._store.check()
        found = await self._uploads.look(upload)
        if found.begun.stream:
            return receipts_of(await self._streams.pieces(found))
        multipart = await self._uploads.recorded(found)
        if multipart is None:
            single = await self._receipts.single(found)
            return [single] if single is not None else []
        try:
            parts = await self._receipts.parts(found, multipart)
        except FileNotFoundError:
            record = await self._receipts.sealed(found, multipart)
            if record is None:
                raise
            return list(record.pieces)
        return sorted((await self._receipts.counting(found, parts)).values())

    async def seal(self, upload: UploadKey, plan: SealPlan, watch: SealWatch) -> SealedObject:
        steps = (self._store, self._uploads, self._receipts, self._writer)
        try:
            await self._store.check()
            found = await self._uploads.look(upload)
            if found.begun.stream:
                return await StreamSealing(*steps, self._streams, plan, watch).run(found)
            return await Sealing(*steps, plan, watch).run(found)
        except asyncio.CancelledError:
            watch.stop.set()
            raise

    async def abort(self, upload: UploadKey) -> None:
        await self._store.check()
        await self._uploads.remove(upload)

    async def read(self, key: ObjectKey, start: int, length: int) -> AsyncIterator[bytes]:
        await self._store.check()
        reader = ObjectReader(self._client, self._store.keys.object(key), start, length)
        await reader.open()
        return reader

    async def delete(self, key: ObjectKey) -> None:
        await self._store.check()
        name = self._store.keys.object(key)
        await remove_multiparts(self._store, name)
        await self._client.call("delete_object", Key=name)

    async def uploads(self) -> AsyncIterator[list[UploadKey]]:
        await self._store.check()
        async for batch in listing.stored_uploads(self._store):
            yield batch

    async def objects(self) -> AsyncIterator[list[ObjectKey]]:
        await self._store.check()
        async for batch in listing.stored_objects(self._store):
            yield batch

    async def unsealed(self) -> AsyncIterator[list[ObjectKey]]:
        await self._store.check()
        async for batch in listing.open_multiparts(self._store):
            yield batch

    async def presigns(self) -> bool:
        return (await self._store.capabilities()).listed_crc64

    async def presign(self, upload: UploadKey, indexes: Sequence[int]) -> list[PresignedChunk]:
        """The length is signed where it is known. The store computes the checksum of what it takes, and `receipts`
        tells it."""
        await self._store.check()
        found = await self._uploads.look(upload)
        multipart = await self._uploads.multipart(found, fresh=True)
        target = self._store.keys.object(found.begun.target)
        links: list[PresignedChunk] = []
        for index in indexes:
            length = found.begun.length_of(index + 1)
            signed = {} if length is None else {"ContentLength": length}
            names = {"Key": target, "UploadId": multipart, "PartNumber": index + 1, **signed}
            url = await self._signer.presigned("upload_part", self._settings.s3_link_seconds, **names)
            headers = {} if length is None else {"Content-Length": str(length)}
            links.append(PresignedChunk(index, index * found.begun.chunk_size, length or 0, url, headers))
        return links

    async def measure(self, upload: UploadKey, chunk_size: int) -> None:
        await self._store.check()
        await self._uploads.measure(await self._uploads.look(upload), chunk_size)

    async def last_activity(self, upload: UploadKey) -> datetime | None:
        await self._store.check()
        return await self._uploads.last_change(upload)

    async def check_writable(self) -> None:
        """A write of the last seconds is proof enough; otherwise a small one is made."""
        await self._store.check()
        if time.monotonic() - self._written_at < WRITABLE_LIVES:
            return
        await self._client.call("put_object", Key=self._store.keys.scratch("writable"), Body=b"x")
        self._written_at = time.monotonic()

    async def identity(self) -> str | None:
        return await self._store.mark()

    async def initialise(self, storage_id: str) -> str:
        return await self._store.put_mark(storage_id)

    def expect(self, storage_id: str) -> None:
        self._store.expect(storage_id)

    async def close(self) -> None:
        await self._client.close()
        await self._signer.close()
