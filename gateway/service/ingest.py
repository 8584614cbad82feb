"""Whole files in one request: a stream becomes an upload, chunk by chunk, and is finalized at its end.

All files of one request are taken or none: where one is refused, or the connection breaks, every upload of the request
is aborted, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from common.db.models import Job, Upload
from common.db.uploads import Said
from common.digests import Digests, StreamHasher
from common.errors import BodyIncomplete, FileTooLarge, SluiceError, UploadNotOpen
from common.settings import LimitsSettings
from common.states import UploadState
from common.storage.base import Segment, Storage, UploadKey
from common.telemetry import Metrics, get_logger
from gateway.intake import Intake, IntakeMemory, Pieces, compare_digests
from gateway.service.caller import Caller
from gateway.service.finalize import FinalizeService
from gateway.service.limits import chunk_size_of_stream
from gateway.service.requests import Description, check_about, check_size
from gateway.service.uploads import UploadService, shape_of
from gateway.service.wholes import WholeService

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One file of a request, and the job to poll."""

    filename: str
    upload_id: str
    job: Job


@dataclass(slots=True)
class Received:
    """A file that has arrived whole and is not finalized yet."""

    upload: Upload
    size: int


@dataclass(slots=True)
class Delivery:
    """The files of one request."""

    received: list[Received] = field(default_factory=list)


class IngestService:
    """See the module."""

    def __init__(
        self,
        limits: LimitsSettings,
        uploads: UploadService,
        finalizing: FinalizeService,
        wholes: WholeService,
        storage: Storage,
        memory: IntakeMemory,
        metrics: Metrics,
    ) -> None:
        self._limits = limits
        self._uploads = uploads
        self._finalizing = finalizing
        self._wholes = wholes
        self._storage = storage
        self._memory = memory
        self._metrics = metrics
        self._discarding: set[asyncio.Task[None]] = set()

    def takes_whole(self, length: int | None) -> bool:
        """Whether there is memory for a file of `length` bytes until it has arrived."""
        return length is not None and self._memory.has_room_for(length)

    async def take_whole(
        self,
        caller: Caller,
        pieces: Pieces,
        *,
        filename: str,
        content_type: str | None,
        about: Description,
        length: int,
        declared: Digests | None = None,
    ) -> Job:
        """A small file, in memory until it has arrived whole; then its job. Nothing of a body that breaks off is left.

        Raises what a new upload raises, DigestMismatch, BodyIncomplete, InsufficientStorage, StorageUnavailable.
        """
        check_size(length, self._limits)
        chunk_size = chunk_size_of_stream(self._limits, self._storage.chunk_limits, length)
        upload = self._uploads.new_row(caller, filename, content_type, about, length, chunk_size)
        source = Intake(pieces, self._memory, limit=length, declared=declared)
        try:
            batch = await source.whole()
            if source.length != length:
                raise _incomplete(source.length, length)
            job = await self._wholes.accept(caller, upload, batch, source.crc64)
        finally:
            source.close()
        self._metrics.received_bytes.inc(length)
        return job

    async def receive(
        self,
        caller: Caller,
        delivery: Delivery,
        pieces: Pieces,
        *,
        filename: str,
        content_type: str | None,
        length: int | None = None,
        declared: Digests | None = None,
    ) -> None:
        """Store one file of the delivery. `length` is its size where the client declared it.

        Raises what a new upload raises, FileTooLarge as soon as the limit is passed, DigestMismatch, BodyIncomplete
        where the body has ended before `length`.
        """
        check_size(length or 0, self._limits)
        chunk_size = chunk_size_of_stream(self._limits, self._storage.chunk_limits, length)
        upload = self._uploads.new_row(caller, filename, content_type, Description(), length, chunk_size)
        entry = Received(upload, 0)
        delivery.received.append(entry)  # before the row is written: who is cut off meanwhile leaves nothing
        await self._uploads.insert(upload)
        await self._uploads.make_room(upload)
        running = StreamHasher(declared) if declared else None
        await self._store(entry, pieces, running)
        if length is not None and entry.size != length:
            raise _incomplete(entry.size, length)
        if running is not None and declared:
            compare_digests(declared, running.digests())

    async def accept(self, caller: Caller, delivery: Delivery, about: Description) -> list[Accepted]:
        """Finalize every file of the delivery, with what the client said about them."""
        checked = check_about(about, self._limits)
        uploads = [
            (entry.upload, Said(entry.size, checked.description, checked.metadata, checked.tags, entry.upload.digests))
            for entry in delivery.received
        ]
        if len(uploads) == 1:  # shares its transaction with other requests
            jobs = [await self._finalizing.start_job(caller, *uploads[0])]
        else:
            jobs = await self._finalizing.start_together(caller, uploads)
        return [Accepted(upload.filename, upload.id, job) for (upload, _), job in zip(uploads, jobs, strict=True)]

    async def announce(self, caller: Caller, filename: str, content_type: str | None, about: Description) -> Upload:
        """An upload for one file that comes later, in a request that says no more than which one it is. Raises what
        a new upload raises."""
        chunk_size = chunk_size_of_stream(self._limits, self._storage.chunk_limits, None)
        upload = self._uploads.new_row(caller, filename, content_type, about, None, chunk_size)
        await self._uploads.insert(upload)
        return upload

    async def receive_announced(self, caller: Caller, upload_id: str, pieces: Pieces) -> Job:
        """Store it and finalize. What a broken request has left is gone over by the next one; when the file has
        arrived before, the same job again.

        Raises UploadNotFound, UploadNotOpen, FileTooLarge, ChunkConflict, BodyIncomplete, InsufficientStorage,
        StorageUnavailable.
        """
        upload = await self._uploads.load(caller, upload_id)
        if upload.state != UploadState.OPEN:
            return await self._finalizing.finalize(caller, upload_id, {})
        if upload.size is not None or upload.direct or upload.stream:
            raise UploadNotOpen("This upload was not made for a form.", state=upload.state)
        entry = Received(upload, 0)
        await self._storage.begin(UploadKey(upload.tenant, upload.id), shape_of(upload))
        await self._store(entry, pieces, None)
        said = Said(entry.size, upload.description, upload.meta, upload.tags, upload.digests)
        return await self._finalizing.start_job(caller, upload, said)

    def discard_later(self, caller: Caller, delivery: Delivery) -> None:
        """The same for a client that shall not wait: the database is away. What cannot be ended now expires."""
        task = asyncio.create_task(self.discard(caller, delivery))
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

    async def discard(self, caller: Caller, delivery: Delivery) -> None:
        """Abort what is still open of a delivery that failed."""
        upload_ids = [entry.upload.id for entry in delivery.received]
        try:
            await self._uploads.abort_all(caller, upload_ids)
        except SluiceError as error:  # they expire
            log.warning("delivery.not_discarded", upload_ids=upload_ids, code=error.code)

    async def _store(self, entry: Received, pieces: Pieces, running: StreamHasher | None) -> None:
        upload = entry.upload
        key = UploadKey(upload.tenant, upload.id)
        limit = min(self._limits.max_file_size, upload.chunk_size * self._limits.max_chunks)
        while not await pieces.ended():
            room = limit - entry.size
            if room <= 0:
                raise FileTooLarge(f"A file in one request may have at most {limit} bytes; send chunks.", limit=limit)
            segment = Segment(entry.size, min(upload.chunk_size, room))
            source = Intake(pieces, self._memory, limit=segment.length, running=running)
            try:
                receipt = await self._storage.write(key, segment, source)
            finally:
                source.close()
            entry.size += receipt.length
            self._metrics.received_bytes.inc(receipt.length)


def _incomplete(size: int, length: int) -> BodyIncomplete:
    """No file of another size than was declared, whatever the server did."""
    return BodyIncomplete(f"The body has {size} bytes, Content-Length says {length}; send it again.")
