"""The answer to the request that brought the last bytes: the job that makes the file (sections 4.2.2, 4.4.2, 9.1).

Where digests were declared or asked for, it waits a while for the job: a client learns more from its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import JSONResponse

from common.digests import format_digest_field, parse_hex
from common.errors import DigestMismatch
from common.states import JobState, UploadState
from gateway.api.schemas import JobView
from gateway.ietf.answers import progress
from gateway.ietf.dialects import Dialect
from gateway.service.caller import Caller
from gateway.service.files import FileService
from gateway.service.jobs import JobService, JobStatus
from gateway.service.streams import StreamStatus

WANTED = "Want-Repr-Digest"
PATIENCE = 10.0  # seconds; most files are verified within one
"""Longest wait for digests."""


async def final_answer(
    caller: Caller,
    status: StreamStatus,
    dialect: Dialect,
    wanted: Sequence[str],
    jobs: JobService,
    files: FileService,
    prefix: str,
    more: Mapping[str, str],
) -> JSONResponse:
    """What `POST /v1/files` answers to a file that came whole, with `Upload-Complete: ?1` and the fields in `more`.
    `prefix`: see `Locations.prefix`. Raises DigestMismatch when the job has found out by now that a declared digest
    differs."""
    assert status.job_id is not None
    upload = status.upload
    job = await jobs.status(caller, status.job_id, PATIENCE if wanted or upload.digests else 0)
    fields = {**progress(status, dialect, prefix), **dialect.fields(complete=True), **more}
    _require_right_digests(job, fields)
    digests = {}
    if wanted and job.job.state == JobState.SUCCEEDED and job.job.file_id is not None:
        known = (await files.get(caller, job.job.file_id)).digests
        digests = {name: known[name] for name in wanted if name in known}
    if digests:
        fields["Repr-Digest"] = format_digest_field(parse_hex(digests))
    return JSONResponse(
        JobView.of(job, prefix).model_dump(mode="json"),
        200 if job.final else 202,
        {**fields, "Cache-Control": "no-store"},
    )


def _require_right_digests(job: JobStatus, fields: Mapping[str, str]) -> None:
    if job.job.state == JobState.FAILED and job.job.error_code == "file_digest_mismatch":
        error = DigestMismatch(job.job.error_detail or "The file is not what the digest describes.")
        error.fields |= fields
        raise error


def is_complete(status: StreamStatus) -> bool:
    """Whether nothing can be appended any more."""
    return status.upload.state != UploadState.OPEN and status.job_id is not None
