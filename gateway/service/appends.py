"""Appending to a stream: one implementation for every surface that sends bytes from an offset on.

What has arrived when a connection breaks is kept, unless the request declared a digest: then all of it counts or
nothing. A long append becomes several pieces with a receipt each, so that a process that is killed takes only the last
of them with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.db.models import Upload
from common.digests import Digests, StreamHasher
from common.errors import FileTooLarge, OffsetMismatch, SizeConflict, SluiceError, StorageUnavailable, UploadTooLong
from common.settings import LimitsSettings
from common.storage.base import Segment, UploadKey
from common.telemetry import Metrics, get_logger
from gateway.intake import Intake, IntakeMemory, Pieces, compare_digests
from gateway.service.caller import Caller
from gateway.service.herald import Herald
from gateway.service.requests import agreed_digests, check_digests
from gateway.service.streams import StreamService, StreamStatus, require_open, require_own_bytes
from gateway.service.turns import Turns

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Append:
    """A request to append. `offset`: where the client believes that the stream ends; `length`: what Content-Length
    says (bytes), None without one; `declared`: digests of the body; `complete`: whether these bytes are the last.
    None: they are the last when the size is reached. `whole`: digests of the whole in hex, by algorithm, which count
    where the last bytes are said to be that; they are compared by the job, beside those of the creation."""

    offset: int
    length: int | None = None
    declared: Digests | None = None
    complete: bool | None = None
    whole: Mapping[str, str] = field(default_factory=dict)


class AppendService:
    """See the module."""

    def __init__(
        self,
        limits: LimitsSettings,
        streams: StreamService,
        turns: Turns,
        herald: Herald,
        memory: IntakeMemory,
        metrics: Metrics,
    ) -> None:
        self._limits = limits
        self._streams = streams
        self._turns = turns
        self._herald = herald
        self._memory = memory
        self._metrics = metrics

    async def append(self, caller: Caller, upload_id: str, wanted: Append, pieces: Pieces) -> StreamStatus:
        """Append a body; the last one makes the job, and repeated calls give the same. Nothing of the body is read
        before all that can be refused without it.

        Raises UploadNotFound, UploadNotOpen, NotAppendable, OffsetMismatch (with `expected_offset`), UploadTooLong,
        FileTooLarge, SizeConflict (complete at another size), InvalidDigest (of the whole), DigestMismatch,
        AppendInterrupted (somebody else came, or the server ends; what arrived is kept), BodyIncomplete and BodyTimeout
        (the same), ChunkBusy, InsufficientStorage, StorageUnavailable.
        """
        async with self._turns.take(caller, upload_id, pieces):
            upload = await self._streams.load(caller, upload_id)
            require_own_bytes(upload)
            end = await self._streams.end(caller, upload)
            if upload.job_id is None:  # who repeats the last append gets its answer, whatever became of the upload
                require_open(upload)
            if wanted.offset != end:
                raise OffsetMismatch.at(end, wanted.offset)
            self._check_length(upload, wanted)
            whole = agreed_digests(upload.digests, check_digests(wanted.whole)) if wanted.complete else None
            end = await self._receive(caller, upload, wanted, pieces)
            if wanted.complete is False:
                return StreamStatus(upload, end, upload.job_id)
            if wanted.complete is True and upload.size is None:
                upload = await self._streams.sized(caller, upload, end, end)
            if wanted.complete is True and end != upload.size:
                raise SizeConflict(
                    f"The upload has {upload.size} bytes; these were the last, at {end}.", size=upload.size
                )
            return await self._streams.finished(caller, upload, end, said=wanted.complete is True, digests=whole)

    def _check_length(self, upload: Upload, wanted: Append) -> None:
        """Refuse before the first read what says itself that it is too long."""
        if wanted.length is not None and wanted.length > self._most(upload) - wanted.offset:
            raise self._too_long(upload)

    def _most(self, upload: Upload) -> int:
        """The bytes that the upload may have."""
        if upload.size is not None:
            return upload.size
        return min(self._limits.max_file_size, upload.chunk_size * self._limits.max_chunks)

    def _too_long(self, upload: Upload) -> SluiceError:
        if upload.size is not None:
            return UploadTooLong(f"The upload has {upload.size} bytes; the body goes beyond.", size=upload.size)
        most = self._most(upload)
        return FileTooLarge(f"A file may have at most {most} bytes here.", limit=most)

    async def _receive(self, caller: Caller, upload: Upload, wanted: Append, pieces: Pieces) -> int:
        """Store the body; where the stream ends then. Raises what broke the body off, after the rest is kept."""
        end, most = wanted.offset, self._most(upload)
        if wanted.declared and await pieces.ended():
            compare_digests(wanted.declared, StreamHasher(wanted.declared).digests())
        while not await pieces.ended():
            if end >= most:
                raise self._too_long(upload)
            if not upload.partial:
                self._herald.announce(upload)
            source = self._source(upload, wanted, pieces, end, most - end)
            try:
                end += await self._store(caller, upload, end, source)
            finally:
                source.close()
            if source.broken is not None:
                raise source.broken
        return end

    def _source(self, upload: Upload, wanted: Append, pieces: Pieces, end: int, room: int) -> Intake:
        if wanted.declared:
            return Intake(pieces, self._memory, limit=room, declared=wanted.declared)
        piece = self._streams.appending.piece(upload.chunk_size, end)
        until = asyncio.get_running_loop().time() + piece.seconds
        return Intake(pieces, self._memory, limit=min(piece.length, room), keep=True, until=until)

    async def _store(self, caller: Caller, upload: Upload, end: int, source: Intake) -> int:
        key = UploadKey(upload.tenant, upload.id)
        try:
            receipt = await self._streams.appending.append(key, Segment(end, source.limit), source)
        except FileNotFoundError as error:
            require_open(await self._streams.load(caller, upload.id))
            raise StorageUnavailable("The bytes of this upload were lost; ask for its offset again.") from error
        self._metrics.received_bytes.inc(receipt.length)
        return receipt.length
