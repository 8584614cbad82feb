"""The rows that publishing a sealed upload writes: the file, and the job that describes it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from common.db.clock import NOW
from common.db.models import File, Job, Upload
from common.digests import to_hex
from common.ids import new_id
from common.states import FileState, JobKind, JobState
from common.storage.base import SealedObject

UNKNOWN_TYPE = "application/octet-stream"


def file_of(upload: Upload, sealed: SealedObject) -> File:
    """What readers see of it; without attributes."""
    now = datetime.now(UTC)
    return File(
        id=sealed.key.file_id,
        tenant=upload.tenant,
        upload_id=upload.id,
        state=FileState.READY,
        filename=upload.filename,
        size=sealed.size,
        content_type=upload.content_type or UNKNOWN_TYPE,
        digests=to_hex(sealed.digests),
        verified=sealed.verified,
        description=upload.description,
        meta=upload.meta,
        tags=upload.tags,
        created_at=now,
        scrubbed_at=now,  # its bytes have just been read, or its receipts believed
    )


def metadata_job_of(job: Job, sealed: SealedObject, trace_context: str | None, *, done: bool) -> Job:
    """The job of kind `metadata`: queued, or `done` along with the finalize."""
    ended = {"state": JobState.SUCCEEDED, "attempts": 1, "started_at": NOW, "finished_at": NOW}
    waiting = {"state": JobState.QUEUED, "attempts": 0}
    return Job(
        id=new_id(),
        tenant=job.tenant,
        kind=JobKind.METADATA,
        upload_id=job.upload_id,
        file_id=sealed.key.file_id,
        round=job.round,
        size=sealed.size,
        epoch=0,
        fence=0,
        request_id=job.request_id,
        trace_context=trace_context,
        created_at=datetime.now(UTC),
        next_attempt_at=NOW,  # due by the clock that judges it
        rung_at=NOW,
        **(ended if done else waiting),
    )
