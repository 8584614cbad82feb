"""One chunk on its way into the bucket, without being held whole and without a disk.

A chunk is a part (or, where there is only one, an object of its own). Its bytes stream through; the last of them wait
until the source has verified everything and the part is claimed for just these bytes. So a broken body never becomes
a part, and of two writers with different bytes only one can finish, whichever processes they talk to.

After an answer that was lost, or an error, the store is asked what it has: that is the outcome.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from common.errors import ChunkBusy, ChunkConflict, StorageUnavailable
from common.settings import StorageSettings
from common.storage.again import compared, conflict
from common.storage.base import Receipt, Segment, Source, UploadKey
from common.storage.s3.body import StreamBody, gathered
from common.storage.s3.client import PRECONDITION, Refusal
from common.storage.s3.context import Store
from common.storage.s3.keys import SINGLE
from common.storage.s3.probe import CRC64, Capabilities, b64_crc64, etag_of
from common.storage.s3.receipts import Claims, Receipts
from common.storage.s3.records import Claim
from common.storage.s3.uploads import Upload, Uploads

UNMEASURED = 8 * 1024 * 1024  # bytes of one part of a stream without a length: it has to be held before it is sent


def unmeasured_part(settings: StorageSettings) -> int:
    """Bytes of one part of a stream without a length."""
    return max(UNMEASURED, settings.s3_min_part)


class Writer:
    """The writes of one process. Chunks that this process is writing already are waited for, other processes' are
    kept apart by their claims."""

    def __init__(self, store: Store, uploads: Uploads, claims: Claims, receipts: Receipts) -> None:
        self._store = store
        self._uploads = uploads
        self.claims = claims
        self._receipts = receipts
        self._most = unmeasured_part(store.settings)
        self.slots = asyncio.Semaphore(max(1, store.settings.s3_buffer_memory // self._most))
        self._writing: dict[tuple[UploadKey, int], asyncio.Lock] = {}

    async def write(self, key: UploadKey, segment: Segment, source: Source) -> Receipt:
        """As `common.storage.base.Storage.write`."""
        upload = await self._uploads.find(key)
        if upload.begun.stream or segment.offset % upload.begun.chunk_size:
            raise ChunkConflict("These bytes do not begin where a chunk of this upload begins.")
        async with self._alone(key, segment.offset):
            try:
                return await self._write(upload, segment, source)
            except FileNotFoundError:
                for part in {SINGLE, _part_number(upload, segment)}:  # a claim that nobody looks for any more
                    with suppress(FileNotFoundError):
                        await self._uploads.require_for(upload, upload.keys.claim(part))
                raise

    async def _write(self, upload: Upload, segment: Segment, source: Source) -> Receipt:
        known = await self._landed_before(upload, segment)
        if known is not None:
            return await compared(known, source)
        if upload.begun.size is None:
            return await self._write_unmeasured(upload, segment, source)
        part = _part_number(upload, segment)
        length = upload.begun.length_of(max(part, 1)) or 0
        if length > self._store.settings.s3_held_chunk:
            return await self._stream(upload, part, length, source)
        return await self._send(upload, part, await gathered(source, length), source)

    async def put(self, key: UploadKey, content: bytes, crc64: int) -> Receipt:
        """All bytes of an upload of one chunk, as `common.storage.base.Storage.put`; it has begun."""
        source = _Whole(content, crc64)
        if not content:
            return Receipt(0, 0, 0)
        return await self.write(key, Segment(0, len(content)), source)

    @asynccontextmanager
    async def _alone(self, key: UploadKey, offset: int) -> AsyncIterator[None]:
        """No other write of this process to the same chunk meanwhile. Raises ChunkBusy."""
        lock = self._writing.setdefault((key, offset), asyncio.Lock())
        try:
            async with asyncio.timeout(self._store.settings.chunk_lock_wait):
                await lock.acquire()
        except TimeoutError:
            raise ChunkBusy("Another connection is sending this chunk. Wait for it, or send it again later.") from None
        try:
            yield
        finally:
            lock.release()
            if not lock.locked() and not getattr(lock, "_waiters", None):
                self._writing.pop((key, offset), None)

    async def _landed_before(self, upload: Upload, segment: Segment) -> Receipt | None:
        part = _part_number(upload, segment)
        candidates = (SINGLE, part) if upload.begun.size is None and part == 1 else (part,)
        for number in candidates:
            if await self.claims.get(upload, number) is not None:
                receipt = await self._landed(upload, number)
                if receipt is not None:
                    return receipt
        return None

    async def _landed(self, upload: Upload, part: int) -> Receipt | None:
        """What the store has of this part. Raises FileNotFoundError where the upload takes parts no more."""
        if part == SINGLE:
            return await self._receipts.single(upload)
        found = await self._receipts.part(upload, await self._uploads.multipart(upload), part)
        return (await self._receipts.counting(upload, [found])).get(part) if found is not None else None

    # --- bodies -----------------------------------------------------------------------------------------------

    async def _write_unmeasured(self, upload: Upload, segment: Segment, source: Source) -> Receipt:
        """A stream whose end is not known: a short first piece is all of it, a full one is a part."""
        most = min(segment.length, self._most)
        async with AsyncExitStack() as stack:
            slots = [self.slots]

            async def ask(held: int) -> None:
                if slots and held > self._store.settings.s3_held_chunk:
                    await stack.enter_async_context(slots.pop())

            content = await gathered(source, most, ask)
            whole = segment.offset == 0 and len(content) < upload.begun.chunk_size
            return await self._send(upload, SINGLE if whole else _part_number(upload, segment), content, source)

    async def _send(self, upload: Upload, part: int, content: bytes, source: Source) -> Receipt:
        """Bytes that are here whole: the checksum goes in front, and the request is tried again."""
        await self._claim(upload, part, source)
        can = await self._store.capabilities()
        if can.trailer == CRC64:
            checksum = {"ChecksumCRC64NVME": b64_crc64(source.crc64)}
        else:
            digest = hashlib.md5(content, usedforsecurity=False).digest()
            checksum = {"ContentMD5": base64.b64encode(digest).decode()}
        try:
            await self._put(upload, part, content, can, checksum)
        except FileNotFoundError:
            await self._uploads.look(upload.key)
            before = upload.multipart
            if part == SINGLE or await self._uploads.multipart(upload, fresh=True) == before:
                raise
            await self._put(upload, part, content, can, checksum)  # a seal gave the parts back under another id
        except StorageUnavailable:
            if await self._landed(upload, part) is None:
                raise
        return await self._kept(upload, part, source)

    async def _stream(self, upload: Upload, part: int, length: int, source: Source) -> Receipt:
        can = await self._store.capabilities()
        md5 = can.trailer is None and can.md5_etags

        async def claim() -> None:
            await self._claim(upload, part, source)

        body = StreamBody(source, length, claim, md5=md5)
        try:
            checksum = {"ChecksumAlgorithm": can.trailer} if can.trailer else {}
            answer = await self._put(upload, part, body, can, {"ContentLength": length, **checksum})
        except (FileNotFoundError, StorageUnavailable, Refusal) as error:
            if body.error is not None:
                raise body.error from None
            await self._after_failure(upload, part, error, ended=body.ended)
        else:
            await self._check_answer(upload, part, answer, body, source)
        finally:
            await body.aclose()
        return await self._kept(upload, part, source)

    async def _claim(self, upload: Upload, part: int, source: Source) -> None:
        mine = Claim(source.length, source.crc64)
        if await self.claims.make(upload, part, mine) != mine:
            raise conflict()

    # --- the store --------------------------------------------------------------------------------------------

    async def _put(
        self, upload: Upload, part: int, body: bytes | StreamBody, can: Capabilities, more: dict[str, Any]
    ) -> dict[str, Any]:
        client = self._store.client
        if part != SINGLE:
            target = self._store.keys.object(upload.begun.target)
            multipart = await self._uploads.multipart(upload)
            return await client.call("upload_part", Key=target, UploadId=multipart, PartNumber=part, Body=body, **more)
        condition = {"IfNoneMatch": "*"} if can.conditional_put else {}
        try:
            return await client.call(
                "put_object", Key=upload.keys.data, Body=body, handled=PRECONDITION, **condition, **more
            )
        except Refusal:
            if isinstance(body, StreamBody):
                await self._read_on(body)
            return {}  # another writer of the bytes that are claimed was faster

    async def _read_on(self, body: StreamBody) -> None:
        """The store has refused what is stored already, perhaps before it took a byte: only the claim, at the end of
        the body, tells whether ours are the same. Raises ChunkConflict, ChunkBusy."""
        if body.ended:
            return
        if body.started:  # the HTTP client may have dropped what it held
            raise ChunkBusy("Another connection has just stored this chunk; send it again.")
        async for _ in body:
            pass

    async def _after_failure(self, upload: Upload, part: int, error: Exception, *, ended: bool) -> None:
        """Return where the bytes have landed all the same; otherwise raise what the caller should know.

        Where our body has not `ended`, nothing has compared it with what stands there: that is another's then.
        """
        upload = await self._uploads.look(upload.key)
        before = upload.multipart
        if isinstance(error, FileNotFoundError):
            if part != SINGLE and await self._uploads.multipart(upload, fresh=True) != before:
                raise StorageUnavailable("The upload was reopened while this chunk was sent; send it again.") from error
            raise error
        if not ended or await self._landed(upload, part) is None:
            raise error

    async def _check_answer(
        self, upload: Upload, part: int, answer: dict[str, Any], body: StreamBody, source: Source
    ) -> None:
        """What the store says it has taken is what we have sent, as far as it says so."""
        if not body.ended:
            raise StorageUnavailable("The store has answered before it took the chunk; send it again.")
        told = answer.get("ChecksumCRC64NVME")
        wrong = told is not None and told != b64_crc64(source.crc64)
        if wrong or (body.md5 is not None and answer and etag_of(answer) != body.md5):
            await self.put_away(upload, [part])
            raise StorageUnavailable("The store has taken other bytes than were sent; send the chunk again.")

    async def _kept(self, upload: Upload, part: int, source: Source) -> Receipt:
        """The receipt. A single object can be written for an upload that was aborted: it goes again."""
        if part == SINGLE:
            await self._uploads.require_for(upload, upload.keys.data)
        return Receipt(max(0, part - 1) * upload.begun.chunk_size, source.length, source.crc64)

    async def put_away(self, upload: Upload, parts: list[int]) -> None:
        """These parts count no more. A part cannot be removed, but an empty one can take its place."""
        target = self._store.keys.object(upload.begun.target)
        for part in parts:
            if part == SINGLE:
                await self._store.client.call("delete_object", Key=upload.keys.data)
                continue
            with suppress(FileNotFoundError):
                multipart = await self._uploads.multipart(upload)
                await self._store.client.call("upload_part", Key=target, UploadId=multipart, PartNumber=part, Body=b"")
        await self.claims.put_away(upload, parts)


class _Whole:
    """Bytes that are here and verified, as a source."""

    read_ahead = True

    def __init__(self, content: bytes, crc64: int) -> None:
        self.length = 0
        self.crc64 = 0
        self._content = content
        self._crc64 = crc64

    async def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
        self.length, self.crc64 = len(self._content), self._crc64
        yield [self._content]


def _part_number(upload: Upload, segment: Segment) -> int:
    return SINGLE if upload.begun.single else segment.offset // upload.begun.chunk_size + 1
