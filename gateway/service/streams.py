"""Uploads that come as one stream, for every surface whose clients say "from this offset on".

A surface translates its protocol to these calls and to those of `appends` and `concatenations`, and owns nothing
else (docs/surfaces.md). What it has to say again later, as it was received, it puts into `surface`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from mimetypes import MimeTypes
from typing import Any

from common.db.database import Database
from common.db.models import Job, Upload
from common.db.uploads import Said
from common.errors import NotAppendable, SizeConflict, UploadNotFound, UploadNotOpen
from common.settings import LimitsSettings
from common.states import UploadState
from common.storage.base import Storage, UploadKey
from common.storage.streaming import Appends
from common.telemetry import get_logger
from gateway.service.assembling import Assembling
from gateway.service.caller import Caller
from gateway.service.finalize import FinalizeService
from gateway.service.limits import chunk_size_of_appends
from gateway.service.requests import Description, check_digests, check_size
from gateway.service.turns import Turns
from gateway.service.uploads import HAS_JOB, UploadService, shape_of

log = get_logger(__name__)

_KNOWN_TYPES = MimeTypes()  # the table of the standard library; what the machine adds to it differs between machines
_EXPLICIT = "explicit"  # in `Upload.surface`


@dataclass(frozen=True, slots=True)
class NewStream:
    """A request to create an upload that takes appends. `size` in bytes, None: it is told later, at the latest with
    the last append. `partial`: a part of others, no file by itself. `explicit`: it is complete when an append says
    so, and not before, also where all its bytes have come. Digests of the whole in hex, by algorithm."""

    size: int | None
    filename: str | None = None
    content_type: str | None = None
    digests: dict[str, str] = field(default_factory=dict)
    about: Description = field(default_factory=Description)
    partial: bool = False
    explicit: bool = False
    surface: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """An upload, where the next append begins (bytes), and its job once it is complete. One that is put together of
    others has no offset before its parts have arrived."""

    upload: Upload
    offset: int | None
    job_id: str | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing more is to come."""
        return self.upload.state != UploadState.OPEN or self.offset == self.upload.size


class StreamService:
    """See the module."""

    def __init__(
        self,
        limits: LimitsSettings,
        uploads: UploadService,
        finalizing: FinalizeService,
        database: Database,
        storage: Storage,
        turns: Turns,
        assembling: Assembling,
    ) -> None:
        self._assembling = assembling
        self._limits = limits
        self._uploads = uploads
        self._finalizing = finalizing
        self._database = database
        self._storage = storage
        self._turns = turns

    @property
    def available(self) -> bool:
        """Whether the storage takes streams: surfaces that need them are off otherwise."""
        return isinstance(self._storage, Appends)

    async def create(self, caller: Caller, new: NewStream) -> StreamStatus:
        """A new upload at offset 0; one of 0 bytes is complete at once. Raises what a new upload raises
        (`UploadService.create`)."""
        upload = self.new_row(caller, new)
        await self._uploads.insert(upload)
        await self._uploads.make_room(upload)
        log.info("upload.created", upload_id=upload.id, size=upload.size, stream=True)
        return await self.finished(caller, upload, 0)

    def new_row(self, caller: Caller, new: NewStream) -> Upload:
        """Checked, and not inserted yet."""
        if new.size is not None:
            check_size(new.size, self._limits)
        chunk_size = chunk_size_of_appends(self._limits, self._storage.chunk_limits, new.size)
        name = new.filename or _default_name(new.content_type)
        row = self._uploads.new_row(caller, name, new.content_type, new.about, new.size, chunk_size)
        row.digests = check_digests(new.digests)
        row.stream, row.partial, row.surface = True, new.partial, new.surface
        if new.explicit:
            row.surface = {**(new.surface or {}), _EXPLICIT: True}
        return row

    async def load(self, caller: Caller, upload_id: str) -> Upload:
        """The row of a stream, in whatever state. Raises UploadNotFound."""
        upload = await self._uploads.load(caller, upload_id)
        if not upload.stream:
            raise UploadNotFound("There is no upload with this id that takes appends.")
        return upload

    async def status(self, caller: Caller, upload_id: str) -> StreamStatus:
        """Where the next append begins. A request that is appending is asked to let go first: it would be behind the
        answer. Raises UploadNotFound, StorageUnavailable."""
        async with self._turns.take(caller, upload_id):
            upload = await self.load(caller, upload_id)
            if upload.parts is not None:
                return await self._status_of_final(caller, upload)
            return await self.finished(caller, upload, await self.end(caller, upload))

    async def _status_of_final(self, caller: Caller, upload: Upload) -> StreamStatus:
        if upload.state == UploadState.OPEN:
            if await self._assembling.started(caller, upload) is None:
                return StreamStatus(upload, None)
            upload = await self.load(caller, upload.id)
        return StreamStatus(upload, upload.size if upload.job_id is not None else None, upload.job_id)

    async def declare_size(self, caller: Caller, upload_id: str, size: int) -> StreamStatus:
        """Tell the size of an upload that has none yet; again: nothing. Raises UploadNotFound, UploadNotOpen,
        FileTooLarge, InsufficientStorage, SizeConflict (it has another one, or more bytes)."""
        async with self._turns.take(caller, upload_id):
            upload = await self.load(caller, upload_id)
            require_own_bytes(upload)
            end = await self.end(caller, upload)
            return await self.finished(caller, await self.sized(caller, upload, size, end), end)

    async def sized(self, caller: Caller, upload: Upload, size: int, end: int) -> Upload:
        """The row with this size, and room for it. The caller has the turn; the stream ends at `end`. Raises as
        `declare_size`."""
        check_size(size, self._limits)
        if upload.size is None and end <= size:
            require_open(upload)
            with suppress(FileNotFoundError):  # its bytes were lost; who asks where it ends finds that out
                await self.appending.widen(UploadKey(upload.tenant, upload.id), size)
            async with self._database.transaction() as db:
                await db.uploads.declare_size(upload.tenant, upload.id, size)
            upload = await self.load(caller, upload.id)
        if upload.size != size:
            known = f"{upload.size} bytes" if upload.size is not None else f"at least {end} bytes"
            raise SizeConflict(f"This upload has {known}, not {size}.", size=upload.size)
        return upload

    async def abort(self, caller: Caller, upload_id: str) -> None:
        """End an open upload and free its bytes, also while something is appended to it; again: nothing. Raises
        UploadNotFound, UploadFinalized."""
        async with self._turns.take(caller, upload_id):
            await self.load(caller, upload_id)
            await self._uploads.abort(caller, upload_id)

    # --- for the other use cases of streams; the caller has the turn -------------------------------------------

    async def end(self, caller: Caller, upload: Upload) -> int:
        """Where the stream ends. Nothing of one that has ended without a job."""
        if upload.state in HAS_JOB or upload.job_id is not None:
            return upload.size or 0
        if upload.state != UploadState.OPEN:
            return 0
        try:
            return await self.appending.end(UploadKey(upload.tenant, upload.id))
        except FileNotFoundError:
            await self._begin_anew(caller, upload)
            return 0

    async def finished(
        self, caller: Caller, upload: Upload, end: int, *, said: bool = False, digests: dict[str, str] | None = None
    ) -> StreamStatus:
        """Whoever sees that all has come makes the job: a process may have died between the last byte and it. `said`:
        the client has just told that these were the last; `digests`: all that it has declared of the whole by now."""
        if (upload.surface or {}).get(_EXPLICIT) and not said:
            return StreamStatus(upload, end, upload.job_id)
        if upload.partial and upload.state == UploadState.OPEN and end == upload.size:
            await self._assembling.completed(caller, upload)
        if upload.state == UploadState.OPEN and not upload.partial and end == upload.size:
            declared = upload.digests if digests is None else digests
            about = Said(end, upload.description, upload.meta, upload.tags, declared)
            job: Job = await self._finalizing.start_job(caller, upload, about)
            return StreamStatus(await self.load(caller, upload.id), end, job.id)
        return StreamStatus(upload, end, upload.job_id)

    @property
    def appending(self) -> Appends:
        """The storage, by its power to append. Raises NotAppendable."""
        if not isinstance(self._storage, Appends):
            raise NotAppendable("The storage of this service takes no streams.")
        return self._storage

    async def _begin_anew(self, caller: Caller, upload: Upload) -> None:
        """The storage knows nothing of the upload: it has ended, or its bytes were lost while the row is open."""
        key = UploadKey(upload.tenant, upload.id)
        require_open(await self.load(caller, upload.id))
        log.error("upload.bytes_lost", upload_id=upload.id)
        await self._storage.begin(key, shape_of(upload))
        try:
            require_open(await self.load(caller, upload.id))
        except UploadNotOpen:  # it has ended between the two: what we have just made is nobody's
            await self._storage.abort(key)
            raise


def require_open(upload: Upload) -> None:
    """Raises UploadNotOpen."""
    if upload.state != UploadState.OPEN:
        raise UploadNotOpen(f"The upload is {upload.state}; nothing can be appended.", state=upload.state)


def require_own_bytes(upload: Upload) -> None:
    """Raises NotAppendable for an upload that is put together of others."""
    if upload.parts is not None:
        raise NotAppendable("This upload is put together of others; nothing can be appended to it.")


def _default_name(content_type: str | None) -> str:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    return f"upload{_KNOWN_TYPES.guess_extension(media_type) or ''}"
