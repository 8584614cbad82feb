"""Finalize of small files that came in one request, many at once: one look at the rows, one hop to a thread in which
all are sealed and described, one transaction that publishes. Each stands for itself all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy.exc import IntegrityError

from common.db.models import Job, Upload
from common.errors import DatabaseUnavailable, LeaseLost
from common.queue import GROUP_BYTES
from common.states import JobKind, JobState, UploadState
from common.storage.base import SealWatch, UploadKey
from common.storage.together import Sealed, SealsTogether, Small
from common.telemetry import get_logger
from worker.context import WorkerContext
from worker.examine import Examiner
from worker.lease import Hold, Leases
from worker.plan import plan_of, unsealed
from worker.publish import Publication, Publisher, adopt
from worker.rows import file_of, metadata_job_of

log = get_logger(__name__)


class SmallFiles:
    """See the module. Takes only what needs no more than that: first attempts that nobody traces."""

    def __init__(self, context: WorkerContext, leases: Leases, publisher: Publisher, examiner: Examiner | None) -> None:
        """`examiner`: of a worker that may do the work of metadata jobs too."""
        self._context = context
        self._leases = leases
        self._publisher = publisher
        self._examiner = examiner

    async def pick(self, holds: Sequence[Hold]) -> dict[Hold, Upload]:
        """Those that `run` takes, with their uploads."""
        small = [hold for hold in holds if _is_small(hold.job)]
        if not small or not isinstance(self._context.storage, SealsTogether):
            return {}
        keys = [(hold.job.tenant, hold.job.upload_id) for hold in small]
        try:
            async with self._context.database.reading() as repository:
                uploads = await repository.uploads.get_all(keys)
        except DatabaseUnavailable:  # each finds that by itself, and is retried
            return {}
        found = {hold: upload for hold, key in zip(small, keys, strict=True) if (upload := uploads.get(key))}
        return {hold: upload for hold, upload in found.items() if _is_whole(upload, hold.job)}

    async def run(self, picked: Mapping[Hold, Upload]) -> list[BaseException | None]:
        """None for each that is published, else what went wrong with it."""
        storage, stop = self._context.storage, threading.Event()
        assert isinstance(storage, SealsTogether), "asked for before any is picked"
        outcomes = await storage.seal_together([self._small(hold, upload, stop) for hold, upload in picked.items()])
        errors: dict[Hold, BaseException | None] = {}
        publications = []
        for (hold, upload), outcome in zip(picked.items(), outcomes, strict=True):
            if isinstance(outcome, Sealed):
                publications.append(self._publication(hold, upload, outcome))
            else:
                errors[hold] = unsealed(outcome, hold, upload, self._context.settings.worker.lease_seconds)
        errors |= await self._publish(publications)
        return [errors[hold] for hold in picked]

    def _small(self, hold: Hold, upload: Upload, stop: threading.Event) -> Small:
        plan = plan_of(hold.job, upload, self._context.settings.storage.verify)
        watch = SealWatch(_nobody_asks, stop, partial(self._leases.alive, hold))
        look = partial(self._describe, upload) if self._examiner is not None else None
        return Small(UploadKey(upload.tenant, upload.id), plan, watch, look)

    def _describe(self, upload: Upload, content: bytes) -> object:
        """In a thread. What cannot be described is left to a job of its own, which tells why."""
        assert self._examiner is not None
        try:
            return self._examiner.of_content(content, upload.content_type, upload.filename)
        except Exception as error:  # noqa: BLE001 - files come from strangers
            log.info("file.not_described", file_id=upload.file_id, error=type(error).__name__)
            return None

    def _publication(self, hold: Hold, upload: Upload, sealed: Sealed) -> Publication:
        file = file_of(upload, sealed.file)
        if sealed.seen is not None:
            file.attributes, file.detected_type = dict(sealed.seen), sealed.seen.get("detected_type")
        metadata = metadata_job_of(hold.job, sealed.file, None, done=sealed.seen is not None)
        return Publication(hold, file, metadata, cleaned=True)

    async def _publish(self, publications: Sequence[Publication]) -> dict[Hold, BaseException | None]:
        if not publications:
            return {}
        first = publications[0].hold  # all were claimed, and are renewed, in the same moment
        for publication in publications:
            publication.hold.settling = True
        written: dict[Hold, Exception | None] = {}
        try:
            await self._leases.insist(first, partial(self._write, publications, written))
        except LeaseLost as error:  # of those that are not written
            written = {publication.hold: error for publication in publications} | written
        return {
            publication.hold: await self._noted(publication, written[publication.hold]) for publication in publications
        }

    async def _write(self, publications: Sequence[Publication], written: dict[Hold, Exception | None]) -> None:
        """Publish those that are not `written`, and note them there. Raises DatabaseUnavailable when some are left."""
        left = [publication for publication in publications if publication.hold not in written]
        away: DatabaseUnavailable | None = None
        for publication, error in zip(left, await self._publisher.publish_all(left), strict=True):
            if isinstance(error, DatabaseUnavailable):
                away = error
            else:
                written[publication.hold] = error
        if away is not None:
            raise away

    async def _noted(self, publication: Publication, error: Exception | None) -> BaseException | None:
        if isinstance(error, IntegrityError):  # the row of a former life
            try:
                await self._leases.settle(publication.hold, partial(adopt, publication.hold))
            except Exception as other:  # noqa: BLE001 - the outcome of this one
                return other
            return None
        if error is None:
            file = publication.file
            log.info("file.published", job_id=publication.hold.job.id, file_id=file.id, size=file.size)
            self._context.metrics.sealed_bytes.inc(file.size)
            if publication.metadata.state == JobState.SUCCEEDED:
                self._context.metrics.jobs.labels(kind=JobKind.METADATA, outcome="succeeded").inc()
        return error


def _is_small(job: Job) -> bool:
    return job.kind == JobKind.FINALIZE and job.size <= GROUP_BYTES and job.attempts == 1 and job.trace_context is None


def _is_whole(upload: Upload, job: Job) -> bool:
    return upload.whole_crc64 is not None and upload.state == UploadState.FINALIZING and upload.job_id == job.id


def _nobody_asks(done: int) -> None:
    """For progress: over before anybody looks."""
