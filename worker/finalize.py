"""Finalize: an upload whose bytes have all arrived becomes a file; the storage seals, one transaction publishes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy.exc import IntegrityError

from common.db.models import File, Job, Upload
from common.db.repository import Repository
from common.errors import (
    AttemptsExhausted,
    ChunksDamaged,
    ChunksMissing,
    DatabaseUnavailable,
    SluiceError,
    StorageUnavailable,
    UploadGone,
)
from common.gather import Gather
from common.queue import GROUP_BYTES
from common.states import JobKind, UploadState
from common.storage.base import SealedObject, SealWatch, UploadKey
from common.storage.streaming import Concatenates
from common.telemetry import get_logger
from worker.ahead import HashAhead
from worker.context import WorkerContext
from worker.examine import Examiner
from worker.lease import Hold, Leases
from worker.plan import plan_of, unsealed
from worker.progress import reported
from worker.publish import Publication, Publisher, adopt
from worker.rows import file_of, metadata_job_of

log = get_logger(__name__)

TIDIED_AT_ONCE = 100  # rows of one transaction


class Finalize:
    """The handler of `finalize` jobs."""

    def __init__(
        self,
        context: WorkerContext,
        leases: Leases,
        publisher: Publisher,
        ahead: HashAhead | None,
        examiner: Examiner | None,
    ) -> None:
        """`examiner`: of a worker that may do the work of metadata jobs too."""
        self._context = context
        self._leases = leases
        self._publisher = publisher
        self._ahead = ahead
        self._examiner = examiner
        self._tidied = Gather(self._mark_cleaned, TIDIED_AT_ONCE, shared=(DatabaseUnavailable,))

    async def run(self, job: Job, hold: Hold) -> None:
        upload = await self._load(job)
        with self._context.tracer.span("seal", attributes={"sluice.size": job.size}):
            sealed = await self._seal(job, upload, hold)
        with self._context.tracer.span("publish"):
            await self._publish(job, upload, sealed, hold)

    async def _publish(self, job: Job, upload: Upload, sealed: SealedObject, hold: Hold) -> None:
        file = file_of(upload, sealed)
        described = await self._describe(job, file)
        metadata = metadata_job_of(job, sealed, self._context.tracer.carried(), done=described)
        publication = Publication(hold, file, metadata)
        try:
            await self._leases.insist(hold, partial(self._publisher.publish, publication))
        except IntegrityError:
            # The file row is there already. The fence lets nobody publish twice, so this is the row of a former life.
            await self._leases.settle(hold, partial(adopt, hold))
            return
        self._context.metrics.sealed_bytes.inc(sealed.size)
        if described:
            self._context.metrics.jobs.labels(kind=JobKind.METADATA, outcome="succeeded").inc()
        log.info("file.published", file_id=sealed.key.file_id, size=sealed.size, verified=sealed.verified)

    async def _describe(self, job: Job, file: File) -> bool:
        """Give a small file its attributes before it is published: a job of its own would cost more than the work.

        Only the first attempt does: what may kill a worker shall not keep the file from being published.
        """
        if self._examiner is None or job.size > GROUP_BYTES or job.attempts > 1:
            return False
        try:
            with self._context.tracer.span("examine"):
                attributes = await self._examiner.attributes(file)
        except Exception as error:  # noqa: BLE001 - the metadata job then tries, and tells
            log.info("file.not_described", file_id=file.id, error=type(error).__name__)
            return False
        file.attributes, file.detected_type = dict(attributes), attributes.get("detected_type")
        return True

    async def on_failure(self, repository: Repository, job: Job, code: str) -> None:
        """Damage reopens the upload; a dead letter keeps it as it is, so that it can be driven again."""
        if code == ChunksDamaged.code:
            await repository.uploads.reopen(job.tenant, job.upload_id, self._context.settings.limits.upload_ttl)
        elif code != AttemptsExhausted.code:
            await repository.uploads.move(job.tenant, job.upload_id, UploadState.FINALIZING, UploadState.FAILED)

    async def tidy(self, job: Job) -> None:
        """The receipts are not needed any more."""
        try:
            await self._context.storage.abort(UploadKey(job.tenant, job.upload_id))
            await self._tidied.ask(job.upload_id)
        except (SluiceError, OSError) as error:
            log.info("upload.not_cleaned", error=type(error).__name__)  # the sweep comes by

    async def _mark_cleaned(self, upload_ids: Sequence[str]) -> list[None]:
        async with self._context.database.transaction() as repository:
            await repository.uploads.mark_cleaned(*upload_ids)
        return [None] * len(upload_ids)

    async def _load(self, job: Job) -> Upload:
        upload = await self._context.lookups.upload(job.tenant, job.upload_id)
        if upload is None or upload.state != UploadState.FINALIZING or upload.job_id != job.id:
            raise UploadGone("The upload is not waiting for this job any more; create a new upload.")
        return upload

    async def _seal(self, job: Job, upload: Upload, hold: Hold) -> SealedObject:
        prefix = await self._ahead.take(upload.id) if self._ahead is not None else None
        if prefix is not None:
            self._context.metrics.hashed_ahead_bytes.inc(prefix.length)
        plan = replace(plan_of(job, upload, self._context.settings.storage.verify), prefix=prefix)
        async with reported(self._context.signals, job.id) as progress:
            watch = SealWatch(progress.set, threading.Event(), lambda: self._leases.alive(hold))
            try:
                if upload.parts is not None:
                    await self._concatenate(upload, watch)
                return await self._context.storage.seal(UploadKey(job.tenant, upload.id), plan, watch)
            except FileNotFoundError as error:
                raise unsealed(error, hold, upload, self._context.settings.worker.lease_seconds) from error
            except ChunksDamaged as error:
                if upload.parts is None:
                    raise
                # no client has these bytes: they are copied again from the parts
                raise StorageUnavailable("The upload was damaged while it was put together.") from error
            finally:
                watch.stop.set()

    async def _concatenate(self, upload: Upload, watch: SealWatch) -> None:
        """Fill a final upload. A part that is gone is missed only where the upload is not whole already."""
        storage = self._context.storage
        assert isinstance(storage, Concatenates), "otherwise the gateway has made no such upload"
        async with self._context.database.reading() as repository:
            found = await repository.parts.of(upload.tenant, upload.id)
        parts = [(UploadKey(part.tenant, part.id), part.size or 0) for part in found if part is not None]
        if len(parts) < len(found):
            raise UploadGone("A part of the upload was removed before it was put together; upload it again.")
        try:
            await storage.concatenate(UploadKey(upload.tenant, upload.id), parts, watch)
        except ChunksMissing as error:
            raise UploadGone("A part of the upload is not whole any more; upload it again.") from error
