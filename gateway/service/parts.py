"""Numbered parts whose size nobody declares: the protocol of multipart uploads in S3, without an S3.

Parts are chunks. Their size is that of the first part; it is agreed when that part arrives, and the others wait for it.
The size of the file is known when the client says that it has sent all parts. Where the storage signs links and the
settings allow it the parts go to the store directly.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.chunking import MIB, ChunkPlan, Range, missing_ranges
from common.db.database import Database
from common.db.models import Job, Upload
from common.db.uploads import Said
from common.digests import crc64_bytes
from common.errors import (
    ChunkConflict,
    ChunkLength,
    ChunkOutOfRange,
    ChunksMissing,
    InvalidRequest,
    SizeConflict,
    StorageUnavailable,
    Unavailable,
    UploadNotOpen,
)
from common.settings import LimitsSettings
from common.states import UploadState
from common.storage.base import Receipt, Segment, Storage, UploadKey
from common.telemetry import Metrics, get_logger
from gateway.intake import Intake, IntakeMemory, Pieces
from gateway.service.caller import Caller
from gateway.service.finalize import FinalizeService
from gateway.service.presigning import require_presigning, signs_links
from gateway.service.requests import Description, check_size
from gateway.service.uploads import HAS_JOB, UploadService, shape_of

log = get_logger(__name__)

LEAST_PART = 5 * MIB  # what S3 asks of every part but the last; a shorter first part is the only one
FIRST_PART_SECONDS = 10.0  # how long other parts wait for the first
LOOK_SECONDS = 0.05
REMEMBERED = 4096  # uploads whose part size one process keeps


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has arrived: its number from 1, bytes, and a tag that changes with its bytes."""

    number: int
    size: int
    tag: str


class PartService:
    """See the module. With `direct` parts go to the store where it signs links."""

    def __init__(
        self,
        limits: LimitsSettings,
        uploads: UploadService,
        finalizing: FinalizeService,
        database: Database,
        storage: Storage,
        memory: IntakeMemory,
        metrics: Metrics,
        *,
        direct: bool,
    ) -> None:
        self._limits = limits
        self._uploads = uploads
        self._finalizing = finalizing
        self._database = database
        self._storage = storage
        self._memory = memory
        self._metrics = metrics
        self._direct = direct
        self._agreed: OrderedDict[UploadKey, int] = OrderedDict()
        self._least = max(LEAST_PART, limits.chunk_size_min)
        self._largest = min(limits.chunk_size_max, storage.chunk_limits.unmeasured or limits.chunk_size_max)

    async def create(self, caller: Caller, filename: str, content_type: str | None, about: Description) -> Upload:
        """An upload whose parts are sent one by one. Raises what a new upload raises."""
        upload = self._uploads.new_row(caller, filename, content_type, about, None, self._least)
        upload.direct = self._direct and await signs_links(self._storage)
        await self._uploads.insert(upload)
        if upload.direct:
            await self._uploads.make_room(upload)
        log.info("upload.created", upload_id=upload.id, parts=True, direct=upload.direct)
        return upload

    async def link(self, caller: Caller, upload_id: str, number: int) -> str | None:
        """Where the client sends part `number`: a signed link, or None: to `put`.

        Raises UploadNotFound, UploadNotOpen, ChunkOutOfRange, StorageUnavailable.
        """
        upload = await self._open(caller, upload_id)
        self._check_number(number)
        if not upload.direct:
            return None
        try:
            (link,) = await require_presigning(self._storage).presign(_key(upload), [number - 1])
        except FileNotFoundError as error:
            raise StorageUnavailable("The upload is not in the store; create a new one.") from error
        return link.url

    # --- send -------------------------------------------------------------------------------------------------

    async def put(self, caller: Caller, upload_id: str, number: int, pieces: Pieces, length: int | None) -> Part:
        """Store part `number` (from 1) of `length` bytes; again: compared.

        Checks before the first read of the body. Raises UploadNotFound, UploadNotOpen, ChunkOutOfRange, ChunkLength,
        ChunkConflict, ChunkBusy, BodyIncomplete, FileTooLarge, InsufficientStorage, StorageUnavailable, Unavailable
        where the first part does not come.
        """
        self._check_number(number)
        if not length:
            raise ChunkLength("A part has at least one byte, and Content-Length says how many.")
        key = UploadKey(caller.tenant, upload_id)
        size = self._agreed.get(key) or await self._agree(caller, key, number, length)
        if length > size:
            raise ChunkLength(f"The parts of this upload have {size} bytes; this one has {length}.", expected=size)
        check_size((number - 1) * size + length, self._limits)
        source = Intake(pieces, self._memory, limit=length, exact=True)
        try:
            receipt = await self._storage.write(key, Segment((number - 1) * size, length), source)
        except FileNotFoundError as error:
            self._agreed.pop(key, None)
            await self._open(caller, upload_id)
            raise StorageUnavailable("The bytes of this upload were lost; send all parts again.") from error
        finally:
            source.close()
        if receipt.again:
            await self._open(caller, upload_id)
        self._metrics.received_bytes.inc(receipt.length)
        return _part(receipt, size)

    async def _agree(self, caller: Caller, key: UploadKey, number: int, length: int) -> int:
        """The size of the parts. The row says it first, then the upload begins in the storage: where it has begun,
        the row is right."""
        upload = await self._open(caller, key.upload_id)
        if upload.direct:
            raise UploadNotOpen("The parts of this upload go to the store.", state=upload.state)
        if upload.size is not None:  # it was open before, and damage has opened it again; or it came with its size
            _check_planned(upload, number, length)
            return upload.chunk_size
        if number == 1 and not await self._has_begun(key):
            upload = await self._first(caller, upload, length)
            await self._storage.begin(key, shape_of(upload))
        else:
            await self._begun(key)
            upload = await self._open(caller, key.upload_id)
        self._agreed[key] = upload.chunk_size
        while len(self._agreed) > REMEMBERED:
            self._agreed.popitem(last=False)
        return upload.chunk_size

    async def _first(self, caller: Caller, upload: Upload, length: int) -> Upload:
        if length <= upload.chunk_size:
            return upload
        if length > self._largest:
            raise ChunkLength(f"A part may have at most {self._largest} bytes here.", expected=self._largest)
        async with self._database.transaction() as db:
            await db.uploads.agree_chunk_size(upload.tenant, upload.id, upload.chunk_size, length)
        return await self._open(caller, upload.id)

    async def _begun(self, key: UploadKey) -> None:
        """Wait until the first part has come. It is most often on its way beside us."""
        try:
            async with asyncio.timeout(FIRST_PART_SECONDS):
                while not await self._has_begun(key):  # noqa: ASYNC110 - another gateway may have it
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise Unavailable("Send part 1 first: it tells the size of the parts.", retry_after=1) from None

    async def _has_begun(self, key: UploadKey) -> bool:
        try:
            await self._storage.receipts(key)
        except FileNotFoundError:
            return False
        return True

    # --- look and end -----------------------------------------------------------------------------------------

    async def arrived(self, caller: Caller, upload_id: str) -> list[Part]:
        """The parts that are here, by number. Raises UploadNotFound, UploadNotOpen."""
        return await self._parts_of(await self._open(caller, upload_id))

    async def complete(self, caller: Caller, upload_id: str, tags: Mapping[int, str]) -> Job:
        """All parts have been sent, these (tag by number): the job that makes the file of them; again: the same job.

        Raises UploadNotFound, UploadNotOpen, ChunksMissing, ChunkConflict, ChunkLength, FileTooLarge, InvalidRequest.
        """
        upload = await self._uploads.load(caller, upload_id)
        if upload.state in HAS_JOB:
            return await self._finalizing.finalize(caller, upload_id, {})
        _require_parts(upload)
        here = {part.number: part for part in await self._parts_of(upload)}
        parts = _named(tags, here, compared=not upload.direct)
        size = sum(part.size for part in parts)
        if upload.size not in (None, size):
            raise SizeConflict(f"The upload has {upload.size} bytes, these parts have {size}.", size=upload.size)
        check_size(size, self._limits)
        chunk_size = max(parts[0].size, upload.chunk_size) if len(parts) == 1 else parts[0].size
        _check_sizes(parts, chunk_size, self._limits.chunk_size_min)
        if chunk_size != upload.chunk_size:
            upload = await self._measure(caller, upload, chunk_size)
        said = Said(size, upload.description, upload.meta, upload.tags, upload.digests)
        return await self._finalizing.start_job(caller, upload, said)

    async def _measure(self, caller: Caller, upload: Upload, chunk_size: int) -> Upload:
        """Parts that went to the store by themselves are measured when they are all there."""
        if not upload.direct:
            raise ChunkLength(
                f"All parts but the last have at least {upload.chunk_size} bytes here.", expected=upload.chunk_size
            )
        async with self._database.transaction() as db:
            await db.uploads.agree_chunk_size(upload.tenant, upload.id, upload.chunk_size, chunk_size)
        upload = await self._open(caller, upload.id)
        await self._tell_storage(upload)
        return upload

    async def _tell_storage(self, upload: Upload) -> None:
        """The row has said it first: a crash in between is put right by whoever looks next."""
        if upload.direct and upload.chunk_size != self._least:
            await require_presigning(self._storage).measure(_key(upload), upload.chunk_size)

    async def _parts_of(self, upload: Upload) -> list[Part]:
        try:
            await self._tell_storage(upload)
            receipts = await self._storage.receipts(_key(upload))
        except FileNotFoundError:
            return []
        return [_part(receipt, upload.chunk_size) for receipt in receipts]

    async def _open(self, caller: Caller, upload_id: str) -> Upload:
        return _require_parts(await self._uploads.load(caller, upload_id))

    def _check_number(self, number: int) -> None:
        if not 1 <= number <= self._limits.max_chunks:
            raise ChunkOutOfRange(
                f"Parts are numbered from 1 to {self._limits.max_chunks}.", chunk_count=self._limits.max_chunks
            )


def _key(upload: Upload) -> UploadKey:
    return UploadKey(upload.tenant, upload.id)


def _part(receipt: Receipt, chunk_size: int) -> Part:
    return Part(receipt.offset // chunk_size + 1, receipt.length, crc64_bytes(receipt.crc64).hex())


def _require_parts(upload: Upload) -> Upload:
    if upload.state != UploadState.OPEN:
        raise UploadNotOpen(f"The upload is {upload.state}; it takes no parts.", state=upload.state)
    if upload.stream:
        raise UploadNotOpen("This upload is one stream; it takes no parts.", state=upload.state)
    return upload


def _check_planned(upload: Upload, number: int, length: int) -> None:
    """Raises ChunkOutOfRange, ChunkLength for what is no chunk of an upload whose size is known."""
    expected = ChunkPlan(upload.size or 0, upload.chunk_size).length(number - 1)
    if length != expected:
        raise ChunkLength(f"Part {number} of this upload has {expected} bytes, not {length}.", expected=expected)


def _named(tags: Mapping[int, str], here: Mapping[int, Part], *, compared: bool) -> list[Part]:
    """The parts that the client names, all from 1 on. `compared`: its tags are ours, so they have to be right."""
    if not tags:
        raise InvalidRequest("Name the parts that the file is made of; there is at least one.")
    missing: list[Range] = missing_ranges(max(tags), (number - 1 for number in tags if number in here))
    if missing:
        raise ChunksMissing("Send the parts in `missing` (numbered from 0 here), then complete again.", missing=missing)
    parts = [here[number] for number in sorted(tags)]
    wrong = [part.number for part in parts if compared and tags[part.number] != part.tag]
    if wrong:
        raise ChunkConflict(f"Part {wrong[0]} is stored with other bytes than its ETag says.", parts=wrong[:100])
    return parts


def _check_sizes(parts: Sequence[Part], chunk_size: int, least: int) -> None:
    """All parts have one size, the last apart, which may be shorter."""
    short = len(parts) > 1 and chunk_size < least
    if short or any(part.size != chunk_size for part in parts[:-1]) or parts[-1].size > chunk_size:
        raise ChunkLength(
            f"All parts but the last have the same size, {least} bytes or more; the last may be shorter.",
            expected=max(chunk_size, least),
        )
