"""Routes of jobs: the polling endpoint."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from common import errors
from common.db.models import Job
from common.states import JobKind, JobState
from gateway.api.documented import problems
from gateway.api.numbers import Limit
from gateway.api.preferences import applied_wait, preferred_wait
from gateway.api.schemas import JobPage, JobView
from gateway.dependencies import Caller, Jobs, Services
from gateway.service.caller import Caller as CallerValue
from gateway.service.jobs import JobService, JobStatus

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

RETRY_AFTER = 1  # seconds between polls of a client that does not use `wait`
Wait = Annotated[float, Query(ge=0, description="Seconds to hold the answer until the job has ended.")]


def job_answer(status: JobStatus, response: Response, prefix: str) -> JobView:
    """The job, and when to ask again while it is not finished. `prefix`: see `Locations.prefix`."""
    if not status.final:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    response.headers["Cache-Control"] = "no-store"
    return JobView.of(status, prefix)


async def queued_answer(
    request: Request, response: Response, caller: CallerValue, jobs: JobService, job: Job, prefix: str
) -> JobView:
    """To who has queued the job: where it is, and how it ended where `Prefer: wait` asks for that."""
    wait = jobs.granted(preferred_wait(request))
    status = await jobs.ended(caller, job, wait, partial(_gone, request))
    applied_wait(response, wait)
    response.headers["Location"] = f"{prefix}/v1/jobs/{job.id}"
    response.status_code = 200 if status.final else 202
    return job_answer(status, response, prefix)


@router.head("/{job_id}", include_in_schema=False)
@router.get("/{job_id}", responses=problems(errors.JobNotFound), summary="State and progress of a job")
async def get_job(
    job_id: str,
    caller: Caller,
    jobs: Jobs,
    services: Services,
    request: Request,
    response: Response,
    wait: Wait = 0,
) -> JobView:
    status = await jobs.status(caller, job_id, wait, partial(_gone, request))
    return job_answer(status, response, services.locations.prefix)


async def _gone(request: Request) -> None:
    """Until the client has closed its connection. A poll that is held takes no place among the requests in flight."""
    with request.scope["slots"].lent():
        while (await request.receive())["type"] != "http.disconnect":
            pass


@router.post(
    "/{job_id}/retry",
    status_code=202,
    responses=problems(errors.JobNotFound, errors.JobNotRetryable),
    summary="Drive a dead letter again",
)
async def retry_job(job_id: str, caller: Caller, jobs: Jobs, services: Services, response: Response) -> JobView:
    """For a job that failed with `attempts_exhausted`: it goes back to the queue with all its attempts. A job that has
    not ended is answered as it is, so the call may be repeated."""
    return job_answer(await jobs.retry(caller, job_id), response, services.locations.prefix)


@router.head("", include_in_schema=False)
@router.get("", responses=problems(), summary="Jobs, newest first")
async def list_jobs(
    caller: Caller,
    jobs: Jobs,
    services: Services,
    state: JobState | None = None,
    kind: JobKind | None = None,
    cursor: str | None = None,
    limit: Limit = 100,
) -> JobPage:
    page = await jobs.page(caller, state, kind, cursor, limit)
    prefix = services.locations.prefix
    return JobPage(items=[JobView.of(jobs.listed(job), prefix) for job in page.items], next_cursor=page.next_cursor)
