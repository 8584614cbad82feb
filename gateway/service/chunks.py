"""Chunks: the hot path. One storage write each, no database query while the facts of the upload are remembered."""

from __future__ import annotations

from common.db.models import Upload
from common.digests import Digests
from common.errors import ChunkLength, DatabaseUnavailable, StorageUnavailable, UploadNotOpen
from common.states import UploadState
from common.storage.base import Receipt, Segment, Storage, UploadKey
from common.telemetry import Metrics, get_logger
from gateway.intake import Intake, IntakeMemory, Pieces
from gateway.service.caller import Caller
from gateway.service.facts import Facts, FactsCache
from gateway.service.uploads import UploadService, shape_of

log = get_logger(__name__)


class ChunkService:
    """See the module."""

    def __init__(
        self, uploads: UploadService, storage: Storage, facts: FactsCache, memory: IntakeMemory, metrics: Metrics
    ) -> None:
        self._uploads = uploads
        self._storage = storage
        self._facts = facts
        self._memory = memory
        self._metrics = metrics

    async def put(
        self, caller: Caller, upload_id: str, index: int, pieces: Pieces, length: int | None, declared: Digests
    ) -> Receipt:
        """Store chunk `index`; `length` is what Content-Length says, None without one.

        Checks before the first read of the body. Raises UploadNotFound, ChunkOutOfRange, ChunkLength, UploadNotOpen,
        ChunkConflict, ChunkBusy, DigestMismatch, BodyIncomplete, InsufficientStorage, StorageUnavailable.
        """
        facts = await self._facts_of(caller, upload_id)
        segment = Segment(facts.plan.offset(index), facts.plan.length(index))
        if length is not None and length != segment.length:
            detail = f"Chunk {index} has {segment.length} bytes; Content-Length says {length}."
            raise ChunkLength(detail, expected=segment.length)
        source = Intake(pieces, self._memory, limit=segment.length, exact=True, declared=declared)
        key = UploadKey(caller.tenant, upload_id)
        try:
            receipt = await self._storage.write(key, segment, source)
        except FileNotFoundError:
            receipt = await self._write_anew(caller, key, segment, source)
        finally:
            source.close()
        if receipt.again:
            # the storage may still hold what is being sealed: only the row knows that it is too late
            self._require_open(await self._uploads.load(caller, upload_id))
        self._metrics.received_bytes.inc(receipt.length)
        return receipt

    async def _facts_of(self, caller: Caller, upload_id: str) -> Facts:
        facts = self._facts.get(caller.tenant, upload_id)
        if facts is not None:
            return facts
        try:
            upload = await self._uploads.load(caller, upload_id)
        except DatabaseUnavailable:
            facts = self._facts.prolong(caller.tenant, upload_id)
            if facts is None:
                raise
            return facts
        self._require_open(upload)
        if upload.size is None or upload.stream:
            raise UploadNotOpen("This upload is one stream; it takes no chunks.", state=upload.state)
        return self._uploads.remember(upload)

    def _require_open(self, upload: Upload) -> None:
        if upload.state != UploadState.OPEN:
            self._facts.forget(upload.tenant, upload.id)
            raise UploadNotOpen(f"The upload is {upload.state}; it takes no chunks.", state=upload.state)

    async def _write_anew(self, caller: Caller, key: UploadKey, segment: Segment, source: Intake) -> Receipt:
        """The storage knows nothing of the upload: it has ended, or its bytes were lost while the row is open."""
        upload = await self._uploads.load(caller, key.upload_id)
        self._require_open(upload)
        if source.started:
            raise StorageUnavailable("The bytes of this upload were lost; read `missing` and send them again.")
        log.error("upload.bytes_lost", upload_id=key.upload_id)
        await self._storage.begin(key, shape_of(upload))
        try:
            # it may have ended between the two: then what we have just made is nobody's
            self._require_open(await self._uploads.load(caller, key.upload_id))
            return await self._storage.write(key, segment, source)
        except UploadNotOpen:
            await self._storage.abort(key)
            raise
        except FileNotFoundError as error:
            self._require_open(await self._uploads.load(caller, key.upload_id))
            raise StorageUnavailable("The upload was lost while it was written; send the chunk again.") from error
