"""Small files that are in memory whole: rows, bytes and ring, shared with all that come in the same moment.

The rows first, in the state that they have after finalize, so that whatever is in the storage has one. Then the bytes,
then the ring. A gateway that dies in between leaves a job that finds no bytes: it waits for them for a while and fails;
nobody was told that it was accepted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from common.db.database import Database
from common.db.models import Job, Upload
from common.errors import DatabaseUnavailable, SluiceError, StorageUnavailable
from common.gather import Gather
from common.queue import MOST_IN_GROUP, Bell, ring_of, share_bell
from common.starting import new_job
from common.states import UploadState
from common.storage.base import Storage, UploadKey, Whole
from common.telemetry import get_logger
from common.tracing import NO_TRACER, Tracer
from gateway.service.caller import Caller
from gateway.service.finalize import SENDING
from gateway.service.uploads import shape_of

log = get_logger(__name__)

PATIENCE = 30.0  # seconds; bytes that are stored later are not believed, because a worker may have given them up

Outcomes = Mapping[str, Exception]
"""What went wrong, by upload id."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file, and the rows that it gets."""

    upload: Upload
    job: Job
    whole: Whole


class WholeService:
    """See the module."""

    def __init__(self, database: Database, storage: Storage, bell: Bell, tracer: Tracer = NO_TRACER) -> None:
        self._database = database
        self._storage = storage
        self._bell = bell
        self._tracer = tracer
        self._starts = Gather(self._start, MOST_IN_GROUP, shared=(DatabaseUnavailable,))

    async def accept(self, caller: Caller, upload: Upload, batch: Sequence[bytes], crc64: int) -> Job:
        """Store all bytes of `upload`, whose row is not inserted yet, and queue its job. Raises InsufficientStorage,
        StorageUnavailable, DatabaseUnavailable; then nothing is left of it."""
        with self._tracer.span("send finalize", kind="producer", attributes=SENDING):
            size = sum(map(len, batch))
            job = new_job(upload, size, request_id=caller.request_id[:64], trace_context=self._tracer.carried())
            upload.state, upload.size, upload.whole_crc64 = UploadState.FINALIZING, size, f"{crc64:016x}"
            upload.job_id, upload.file_id = job.id, job.file_id
            whole = Whole(UploadKey(upload.tenant, upload.id), shape_of(upload), batch, crc64)
            storing = await self._starts.ask(Arrived(upload, job, whole))
            failed = await asyncio.shield(storing)
        if upload.id in failed:
            raise failed[upload.id]
        log.info("file.accepted", upload_id=upload.id, job_id=job.id, size=size)
        return job

    async def _start(self, arrived: Sequence[Arrived]) -> list[asyncio.Task[Outcomes]]:
        """The rows of all, in one transaction."""
        began = time.monotonic()  # before a worker can have heard of any
        share_bell([each.job for each in arrived])
        async with self._database.transaction() as db:
            await db.uploads.insert_all([each.upload for each in arrived])
            await db.jobs.insert_all([each.job for each in arrived])
        storing = asyncio.create_task(self._store(arrived, began))
        return [storing] * len(arrived)

    async def _store(self, arrived: Sequence[Arrived], began: float) -> Outcomes:
        """The bytes of all, then one ring."""
        uploads = [each.upload for each in arrived]
        try:
            outcomes = await self._storage.put([each.whole for each in arrived])
        except Exception as error:  # noqa: BLE001 - the storage is not there at all, or has a bug: nothing was stored
            await self._withdraw(uploads)
            return dict.fromkeys((upload.id for upload in uploads), error)
        if time.monotonic() - began > PATIENCE:
            outcomes = [StorageUnavailable("The storage took too long. Send the file again.")] * len(arrived)
        pairs = zip(uploads, outcomes, strict=True)
        failed = {upload.id: outcome for upload, outcome in pairs if isinstance(outcome, Exception)}
        if failed:
            await self._withdraw(await self._removed([upload for upload in uploads if upload.id in failed]))
        await self._bell.ring(*(ring_of(each.job) for each in arrived if each.upload.id not in failed))
        return failed

    async def _removed(self, uploads: Sequence[Upload]) -> list[Upload]:
        """Those of which nothing is left in the storage. The others keep their rows: they fail as jobs, and are
        swept."""
        removed = []
        for upload in uploads:
            with suppress(SluiceError):
                await self._storage.abort(UploadKey(upload.tenant, upload.id))
                removed.append(upload)
        return removed

    async def _withdraw(self, uploads: Sequence[Upload]) -> None:
        """A full disk must not fill the database. Rows that cannot be withdrawn now are left to a worker."""
        with suppress(SluiceError):
            async with self._database.transaction() as db:
                gone = await db.jobs.withdraw([upload.job_id or "" for upload in uploads])
                await db.uploads.withdraw([upload.id for upload in uploads if upload.job_id in gone])
