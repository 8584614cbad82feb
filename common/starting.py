"""The start of a finalize: what the upload becomes, and the job that does it. Written in one transaction by who starts
it: a gateway that is asked to, or the sweep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from common.db.clock import NOW
from common.db.models import Job, Upload
from common.db.statements import Key
from common.db.uploads import Said, Start
from common.ids import new_id
from common.states import JobKind, JobState


@dataclass(frozen=True, slots=True)
class Wanted:
    """An upload that is to be finalized, and the job that does it."""

    start: Start
    job: Job

    @property
    def key(self) -> Key:
        return self.start.tenant, self.start.upload_id


def wanted(upload: Upload, said: Said, *, request_id: str | None = None, trace_context: str | None = None) -> Wanted:
    """A queued job for an upload, due now; nothing is written yet."""
    job = new_job(upload, said.size, request_id=request_id, trace_context=trace_context)
    assert job.file_id is not None
    return Wanted(Start(upload.tenant, upload.id, job.id, job.file_id, said), job)


def new_job(upload: Upload, size: int, *, request_id: str | None = None, trace_context: str | None = None) -> Job:
    """Its job alone. `size` in bytes; `trace_context`: see `common.tracing`."""
    return Job(
        id=new_id(),
        tenant=upload.tenant,
        kind=JobKind.FINALIZE,
        state=JobState.QUEUED,
        upload_id=upload.id,
        file_id=upload.file_id or new_id(),  # chosen with the upload: some storages have to know it from the start
        round=upload.round,
        size=size,
        attempts=0,
        epoch=0,
        fence=0,
        next_attempt_at=NOW,  # due by the clock that judges it
        rung_at=NOW,
        request_id=request_id,
        trace_context=trace_context,
        created_at=datetime.now(UTC),
    )
