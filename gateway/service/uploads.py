"""Uploads: create, look at, abort. Every call may be repeated. `chunks` fills them, `finalize` ends them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import IntegrityError

from common.chunking import ChunkPlan, Range, agree_chunk_size, missing_ranges, ranges_of
from common.db.database import Database
from common.db.lookups import Lookups
from common.db.models import Upload
from common.errors import (
    DatabaseUnavailable,
    IdempotencyKeyReused,
    InvalidRequest,
    SluiceError,
    StorageUnavailable,
    UploadFinalized,
    UploadNotFound,
)
from common.gather import Gather
from common.ids import is_id, new_id
from common.settings import LimitsSettings
from common.states import UploadState
from common.storage.base import ObjectKey, Receipt, Storage, UploadKey, UploadShape
from common.storage.tiling import chunks_in, cover, tile
from common.telemetry import get_logger
from gateway.service.caller import Caller
from gateway.service.facts import Facts, FactsCache
from gateway.service.herald import Herald
from gateway.service.presigning import check_direct
from gateway.service.requests import (
    Description,
    NewUpload,
    check_about,
    check_content_type,
    check_digests,
    check_name,
    check_size,
)

log = get_logger(__name__)

MAX_IDEMPOTENCY_KEY = 255  # characters
INSERTS_AT_ONCE = 64  # rows of one transaction
HAS_JOB = frozenset({UploadState.FINALIZING, UploadState.COMPLETE})


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """An upload and what the storage has of it."""

    upload: Upload
    received_bytes: int
    missing: list[Range]


def shape_of(upload: Upload) -> UploadShape:
    """What the storage has to know. Rows of before had no file id yet: they are in a storage that needs none."""
    return UploadShape(
        upload.size,
        upload.chunk_size,
        ObjectKey(upload.tenant, upload.file_id or upload.id),
        direct=upload.direct,
        stream=upload.stream,
    )


class UploadService:
    """See the module. Holds no state but a cache of facts that never change, shared with the chunk use cases."""

    def __init__(
        self,
        limits: LimitsSettings,
        database: Database,
        lookups: Lookups,
        storage: Storage,
        facts: FactsCache,
        herald: Herald,
    ) -> None:
        self._limits = limits
        self._database = database
        self._lookups = lookups
        self._inserts = Gather(self._insert_all, INSERTS_AT_ONCE, shared=(DatabaseUnavailable,))
        self._storage = storage
        self._facts = facts
        self._herald = herald

    # --- create ---------------------------------------------------------------------------------------------

    async def create(self, caller: Caller, wanted: NewUpload, idempotency_key: str | None = None) -> UploadStatus:
        """A new upload, or the one that the same key made before. Raises what `requests` checks raise,
        ChunkSizeRefused, DirectNotAvailable, IdempotencyKeyReused, InsufficientStorage."""
        if idempotency_key is not None and not 1 <= len(idempotency_key) <= MAX_IDEMPOTENCY_KEY:
            raise InvalidRequest(f"Idempotency-Key must have 1 to {MAX_IDEMPOTENCY_KEY} characters.")
        upload = self._new_row(caller, wanted, idempotency_key)
        if upload.direct:
            await check_direct(self._storage)
        try:
            await self.insert(upload)
        except IntegrityError:
            return await self._created_before(caller, wanted, idempotency_key)
        await self.make_room(upload)
        self.remember(upload)  # its chunks come next, and hundreds of uploads may begin at once
        log.info("upload.created", upload_id=upload.id, size=upload.size, chunk_size=upload.chunk_size)
        return self._status(upload, [])

    def new_row(
        self, caller: Caller, name: str, content_type: str | None, about: Description, size: int | None, chunk_size: int
    ) -> Upload:
        """A row for an open upload; not inserted yet. Used by every surface that makes uploads."""
        checked = check_about(about, self._limits)
        now = datetime.now(UTC)
        return Upload(
            id=new_id(),
            tenant=caller.tenant,
            state=UploadState.OPEN,
            filename=check_name(name, self._limits),
            size=size,
            chunk_size=chunk_size,
            content_type=check_content_type(content_type),
            description=checked.description,
            meta=checked.metadata,
            tags=checked.tags,
            digests={},
            file_id=new_id(),
            direct=False,
            stream=False,
            partial=False,
            parts=None,
            surface=None,
            round=0,
            cleaned=False,
            idempotency_key=None,
            fingerprint=None,
            created_at=now,
            expires_at=now + timedelta(seconds=self._limits.upload_ttl),
        )

    def remember(self, upload: Upload) -> Facts:
        """The facts of an upload that is being filled, for the next chunks; workers hear of it."""
        self._herald.announce(upload)
        return self._facts.put(upload)

    async def insert(self, upload: Upload) -> None:
        """Write a row; those who do so in the same moment share a transaction. Raises IntegrityError when the
        tenant has used the idempotency key before."""
        await self._inserts.ask(upload)

    async def _insert_all(self, uploads: Sequence[Upload]) -> list[None]:
        async with self._database.transaction() as db:
            await db.uploads.insert_all(uploads)
        return [None] * len(uploads)

    async def make_room(self, upload: Upload) -> None:
        """Begin in the storage; where that fails the row goes again: a full disk must not fill the database."""
        try:
            await self._storage.begin(UploadKey(upload.tenant, upload.id), shape_of(upload))
        except SluiceError:
            await self._forget(upload)
            raise

    async def _forget(self, upload: Upload) -> None:
        """Remove an upload that never began, so that its Idempotency-Key can make one later."""
        with suppress(StorageUnavailable):  # what there is of it is found by fsck
            await self._storage.abort(UploadKey(upload.tenant, upload.id))
        async with self._database.transaction() as db:
            await db.uploads.remove_open(upload.tenant, upload.id)

    def _new_row(self, caller: Caller, wanted: NewUpload, idempotency_key: str | None) -> Upload:
        check_size(wanted.size, self._limits)
        chunk_size = agree_chunk_size(
            wanted.size,
            wanted.chunk_size,
            smallest=self._limits.chunk_size_min,
            largest=self._limits.chunk_size_max,
            max_chunks=self._limits.max_chunks,
        )
        row = self.new_row(caller, wanted.filename, wanted.content_type, wanted.about, wanted.size, chunk_size)
        row.digests = check_digests(wanted.digests)
        row.direct = wanted.direct and wanted.size > 0  # an empty file has no chunks to send anywhere
        row.idempotency_key = idempotency_key
        row.fingerprint = wanted.fingerprint() if idempotency_key else None
        return row

    async def _created_before(self, caller: Caller, wanted: NewUpload, key: str | None) -> UploadStatus:
        assert key is not None
        async with self._database.reading() as db:
            upload = await db.uploads.by_idempotency_key(caller.tenant, key)
        if upload is None:
            raise UploadNotFound("The upload that this Idempotency-Key made is gone; use a new key.")
        if upload.fingerprint != wanted.fingerprint():
            raise IdempotencyKeyReused("This Idempotency-Key came with another request before; use a new key.")
        return await self.status_of(upload)

    # --- look -----------------------------------------------------------------------------------------------

    async def status(self, caller: Caller, upload_id: str) -> UploadStatus:
        """Raises UploadNotFound."""
        return await self.status_of(await self.load(caller, upload_id))

    async def status_of(self, upload: Upload) -> UploadStatus:
        if upload.state not in (UploadState.OPEN, UploadState.FINALIZING):
            whole = upload.state == UploadState.COMPLETE
            return UploadStatus(upload, (upload.size or 0) if whole else 0, [])
        return self._status(upload, await self._receipts(upload))

    def _status(self, upload: Upload, receipts: list[Receipt]) -> UploadStatus:
        plan = ChunkPlan(upload.size or 0, upload.chunk_size)
        if cover(receipts, plan.size):
            return UploadStatus(upload, plan.size, [])
        received = sum(receipt.length for receipt in receipts)
        if upload.stream:
            return UploadStatus(upload, received, ranges_of(chunks_in(tile(receipts, plan.size).holes, plan)))
        chunks = [plan.index_at(receipt.offset) for receipt in receipts]
        return UploadStatus(upload, received, missing_ranges(plan.count, chunks))

    async def _receipts(self, upload: Upload) -> list[Receipt]:
        try:
            return await self._storage.receipts(UploadKey(upload.tenant, upload.id))
        except FileNotFoundError:
            return []

    async def load(self, caller: Caller, upload_id: str) -> Upload:
        """The row as it is now. Raises UploadNotFound, also for what cannot be an id."""
        if is_id(upload_id):
            upload = await self._lookups.upload(caller.tenant, upload_id)
            if upload is not None:
                return upload
        raise UploadNotFound("There is no upload with this id; it may have been removed after it ended.")

    # --- abort ----------------------------------------------------------------------------------------------

    async def abort_all(self, caller: Caller, upload_ids: Sequence[str]) -> None:
        """End those of some uploads that are open, in one transaction, and free their bytes. Raises
        DatabaseUnavailable; bytes that could not be removed are left to the sweep."""
        if not upload_ids:
            return
        async with self._database.transaction() as db:
            ended = await db.uploads.abort_open([(caller.tenant, upload_id) for upload_id in upload_ids])
        removed = []
        for upload_id in ended:
            self._facts.forget(caller.tenant, upload_id)
            with suppress(StorageUnavailable):
                await self._storage.abort(UploadKey(caller.tenant, upload_id))
                removed.append(upload_id)
        if removed:
            async with self._database.transaction() as db:
                await db.uploads.mark_cleaned(*removed)
        log.info("uploads.aborted", upload_ids=list(ended))

    async def abort(self, caller: Caller, upload_id: str) -> None:
        """End an open upload and free its bytes; again: nothing. Raises UploadNotFound, UploadFinalized, also for a
        part while the file is made of it."""
        upload = await self.load(caller, upload_id)
        if upload.state in HAS_JOB:
            raise UploadFinalized(f"The upload is {upload.state}; delete the file instead.", state=upload.state)
        async with self._database.transaction() as db:
            moved = await db.uploads.abort(upload.tenant, upload.id)
            needed = not moved and upload.partial and await db.parts.needed(upload.tenant, upload.id)
        if needed:
            raise UploadFinalized(
                "The upload is a part of one that is being put together; delete it when that is done.",
                state=upload.state,
            )
        if not moved and upload.state == UploadState.OPEN:
            await self.abort(caller, upload_id)  # somebody moved it between our two statements: look again
            return
        self._facts.forget(upload.tenant, upload.id)
        if upload.cleaned:
            return
        try:
            await self._storage.abort(UploadKey(upload.tenant, upload.id))
        except StorageUnavailable:
            log.warning("upload.abort_left_bytes", upload_id=upload.id)  # the sweep removes them
            return
        async with self._database.transaction() as db:
            await db.uploads.mark_cleaned(upload.id)
        log.info("upload.aborted", upload_id=upload.id)
