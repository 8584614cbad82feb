"""Finalize: a fully received upload becomes a job. Of any number of calls one makes it, and all get it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from common.db.database import Database
from common.db.lookups import Lookups
from common.db.models import Job, Upload
from common.db.uploads import Said
from common.errors import ChunksMissing, DatabaseUnavailable, InvalidDigest, UploadNotOpen
from common.gather import Gather
from common.queue import MOST_IN_GROUP, Bell, Ring, ring_of, share_bell
from common.starting import Wanted, wanted
from common.states import JobKind, UploadState
from common.telemetry import get_logger
from common.tracing import NO_TRACER, Attributes, Tracer
from gateway.service.caller import Caller
from gateway.service.facts import FactsCache
from gateway.service.herald import Herald
from gateway.service.requests import agreed_digests, check_digests
from gateway.service.uploads import HAS_JOB, UploadService

log = get_logger(__name__)

SENDING: Attributes = {
    "messaging.system": "arq",
    "messaging.operation.type": "send",
    "messaging.operation.name": "send",
    "messaging.destination.name": str(JobKind.FINALIZE),
}


class FinalizeService:
    """See the module."""

    def __init__(
        self,
        uploads: UploadService,
        database: Database,
        lookups: Lookups,
        bell: Bell,
        facts: FactsCache,
        herald: Herald,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._uploads = uploads
        self._lookups = lookups
        self._starts = Gather(self._start_all, MOST_IN_GROUP, shared=(DatabaseUnavailable,))
        self._database = database
        self._bell = bell
        self._facts = facts
        self._herald = herald
        self._tracer = tracer

    async def finalize(self, caller: Caller, upload_id: str, digests: dict[str, str]) -> Job:
        """Turn a fully received upload into a job; again: the same job. Raises UploadNotFound, UploadNotOpen,
        ChunksMissing with the missing ranges, InvalidDigest."""
        given = check_digests(digests)
        upload = await self._uploads.load(caller, upload_id)
        if upload.state in HAS_JOB or (upload.state == UploadState.FAILED and upload.job_id):
            return await self._job_of(caller, upload, given)
        if upload.state != UploadState.OPEN:
            raise UploadNotOpen(f"The upload is {upload.state}; it cannot be finalized.", state=upload.state)
        if upload.partial or upload.size is None:
            raise UploadNotOpen("This upload is ended by the protocol that it comes by.", state=upload.state)
        status = await self._uploads.status_of(upload)
        if status.missing:
            raise ChunksMissing("Send the chunks in `missing`, then finalize again.", missing=status.missing)
        declared = agreed_digests(upload.digests, given)
        said = Said(upload.size or 0, upload.description, upload.meta, upload.tags, declared)
        return await self.start_job(caller, upload, said, given)

    async def start_job(
        self, caller: Caller, upload: Upload, said: Said, given: Mapping[str, str] | None = None
    ) -> Job:
        """open -> finalizing with what was `said`, and the job, in one transaction; then ring the bell.

        Of several calls at once one makes the job and all return it; those whose digests are not in it are refused.
        """
        with self._tracer.span("send finalize", kind="producer", attributes=SENDING):
            return await self._start_job(caller, upload, said, given or {})

    async def _start_job(self, caller: Caller, upload: Upload, said: Said, given: Mapping[str, str]) -> Job:
        new = wanted(upload, said, request_id=caller.request_id[:64], trace_context=self._tracer.carried())
        ringing = await self._starts.ask(new)
        if ringing is None:  # not open any more, or somebody holds its row: then it waits where nobody else does
            (ringing,) = await self._start([new], wait=True)
        self._facts.forget(upload.tenant, upload.id)
        if ringing is None:
            upload = await self._uploads.load(caller, upload.id)
            if upload.state in HAS_JOB:
                return await self._job_of(caller, upload, given)
            raise UploadNotOpen(f"The upload is {upload.state}.", state=upload.state)
        await asyncio.shield(ringing)
        log.info("upload.finalizing", upload_id=upload.id, job_id=new.job.id)
        return new.job

    async def start_together(self, caller: Caller, uploads: Sequence[tuple[Upload, Said]]) -> list[Job]:
        """The same for several uploads of one request: all of them or none. Raises UploadNotOpen."""
        several: Attributes = {**SENDING, "messaging.batch.message_count": len(uploads)}
        with self._tracer.span("send finalize", kind="producer", attributes=several):
            about = {"request_id": caller.request_id[:64], "trace_context": self._tracer.carried()}
            new = [wanted(upload, said, **about) for upload, said in uploads]
            (ringing, *_) = await self._start(new, wait=True, together=True)
            assert ringing is not None
            await asyncio.shield(ringing)
        log.info("uploads.finalizing", upload_ids=[upload.id for upload, _ in uploads])
        return [each.job for each in new]

    async def _start_all(self, new: Sequence[Wanted]) -> list[asyncio.Task[bool] | None]:
        return await self._start(new, wait=False)

    async def _start(
        self, new: Sequence[Wanted], *, wait: bool, together: bool = False
    ) -> list[asyncio.Task[bool] | None]:
        """One transaction and one ring for all: the ring of each, None where the upload is not open any more or, unless
        `wait`, held by somebody else. With `together` one that is not open is the end of all: UploadNotOpen."""
        share_bell([each.job for each in new])
        async with self._database.transaction() as db:
            moved = await db.uploads.start_all([each.start for each in new], wait=wait)
            jobs = [each.job for each in new if each.key in moved]
            if together and len(jobs) < len(new):
                raise UploadNotOpen("An upload of this request was ended by somebody else; send the request again.")
            await db.jobs.insert_all(jobs)
        ringing = asyncio.create_task(self._bell.ring(*map(self._ring, jobs)))
        return [ringing if each.key in moved else None for each in new]

    def _ring(self, job: Job) -> Ring:
        ring = ring_of(job)
        return replace(ring, ahead=job.upload_id) if self._herald.tells_of(job.size) else ring

    async def _job_of(self, caller: Caller, upload: Upload, given: Mapping[str, str]) -> Job:
        """The job that there is. Raises InvalidDigest where it does not compare what this call declares."""
        for name, value in given.items():
            if upload.digests.get(name) != value:
                raise InvalidDigest(
                    f"The upload was finalized with another {name} digest, or with none: this one is not compared. "
                    "Finalize with the same digests as before, and compare those of the file."
                )
        job = await self._lookups.job(caller.tenant, upload.job_id or "")
        if job is None:
            raise UploadNotOpen(f"The upload is {upload.state}; its job was removed.", state=upload.state)
        return job
