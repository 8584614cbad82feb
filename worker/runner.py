"""The wrapper around every job: lease, log context, metrics, time limit, and what happens at its end."""

from __future__ import annotations

import asyncio
import random as random_module
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from arq.worker import RetryJob
from structlog.contextvars import bound_contextvars

from common.db.jobs import JobFailure
from common.db.models import Job
from common.db.repository import Repository
from common.errors import DatabaseUnavailable, JobTimeout, LeaseLost
from common.queue import Ring
from common.settings import WorkerSettings
from common.states import JobKind
from common.telemetry import get_logger
from worker.context import WorkerContext
from worker.lease import Hold, Leases
from worker.retry import FailWith, RetryAfter, decide
from worker.tracing import attempt_span, tell

log = get_logger(__name__)

CLAIM_PATIENCE = 10.0  # seconds to go on trying to claim while the database is away; then the sweep rings again
CLAIM_PAUSE = 0.5
SUSPECT_LOSSES = 2  # lost workers that may be chance: a deploy and a crash
SUSPECT_SPACING = 0.05  # seconds between two of them in line
SUSPECT_PAUSE = 1.0  # seconds until a suspect that found another one running is rung again


class Handler(Protocol):
    """One kind of work."""

    async def run(self, job: Job, hold: Hold) -> None:
        """Do the work and end the job as succeeded in the transaction that publishes it. Raises what went wrong."""
        ...

    async def on_failure(self, repository: Repository, job: Job, code: str) -> None:
        """Further statements of the transaction that fails the job with `code`."""
        ...

    async def tidy(self, job: Job) -> None:
        """After success: remove what is not needed any more. What is left here is the sweep's work."""
        ...


class Runner:
    """Runs the jobs that ARQ rings for. No exception of a job ever reaches ARQ, which would end the job for good."""

    def __init__(
        self,
        context: WorkerContext,
        leases: Leases,
        handlers: Mapping[JobKind, Handler],
        *,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._context = context
        self._leases = leases
        self._handlers = handlers
        self._random = random
        self._running: set[Hold] = set()
        self._stopping = False
        self._suspect_runs = False
        self._next_suspect = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    async def run_job(self, ctx: dict[Any, Any], job_id: str, epoch: int) -> None:
        """What ARQ calls for a ring of the bell."""
        del ctx, epoch  # a late ring is as good as a new one: the claim decides
        await self._run([job_id])

    async def run_jobs(self, ctx: dict[Any, Any], job_ids: list[str]) -> None:
        """What ARQ calls for a ring that several small jobs share: they run side by side."""
        del ctx
        await self._run(job_ids)

    async def run_here(self, job_id: str) -> None:
        """The same for a ring that only this worker heard (`worker.ahead`); what cannot be run is rung for all."""
        try:
            await self._run([job_id])
        except RetryJob:
            await self._context.bell.ring(Ring(job_id, JobKind.FINALIZE, 0))

    async def _run(self, job_ids: Sequence[str]) -> None:
        if self._stopping:
            raise RetryJob  # ARQ's word for "leave it in the queue": another worker takes it
        try:
            holds = await self._claim(job_ids)
        except Exception:
            log.exception("job.not_claimed", job_ids=job_ids)
            return
        await asyncio.gather(*map(self._guarded, holds))

    async def _guarded(self, hold: Hold) -> None:
        with bound_contextvars(job_id=hold.job.id):
            try:
                await self._in_turn(hold)
            except Exception:
                log.exception("job.wrapper_failed")

    def stop(self) -> None:
        """Begin no further job."""
        self._stopping = True

    async def drain(self, seconds: float) -> bool:
        """Whether all running jobs ended within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def give_back(self) -> None:
        """Cancel the jobs that still run; each returns to the queue with its attempt given back."""
        for hold in self._running:
            hold.drained = True
            hold.stop()

    async def _claim(self, job_ids: Sequence[str]) -> list[Hold]:
        deadline = time.monotonic() + CLAIM_PATIENCE
        while True:
            try:
                return await self._leases.claim(job_ids)
            except DatabaseUnavailable:
                if self._stopping or time.monotonic() > deadline:
                    log.warning("job.not_claimed", job_ids=job_ids)
                    return []
            await asyncio.sleep(CLAIM_PAUSE)

    async def _in_turn(self, hold: Hold) -> None:
        """Suspects run one at a time, so that the one that kills its workers takes no other's attempts with it."""
        if not is_suspect(hold.job):
            await self._attempt(hold)
        elif self._suspect_runs:
            await self._put_off(hold)
        else:
            self._suspect_runs = True
            try:
                await self._attempt(hold)
            finally:
                self._suspect_runs = False

    async def _put_off(self, hold: Hold) -> None:
        """Back to the queue, each a little later than the one before: a line of them is not rung all at once."""
        now = time.monotonic()
        self._next_suspect = max(now + SUSPECT_PAUSE, self._next_suspect + SUSPECT_SPACING)
        try:
            await self._requeue(hold, self._next_suspect - now, None, give_back_attempt=True)
        except LeaseLost:
            log.info("job.fence_refused")
        finally:
            self._leases.release(hold)

    async def _attempt(self, hold: Hold) -> None:
        job, metrics = hold.job, self._context.metrics
        began = time.monotonic()
        metrics.job_wait_seconds.labels(kind=job.kind).observe(_waited(job, self._context.settings.worker))
        self._running.add(hold)
        self._idle.clear()
        known = bound_contextvars(
            kind=job.kind, upload_id=job.upload_id, request_id=job.request_id, attempt=job.attempts
        )
        try:
            running = metrics.jobs_running.labels(kind=job.kind).track_inprogress()
            with known, attempt_span(self._context.tracer, hold) as span, running:
                error = await self._work(hold)
                outcome = await self._settle(hold, error)
                tell(span, outcome, error)
                seconds = time.monotonic() - began
                metrics.jobs.labels(kind=job.kind, outcome=outcome).inc()
                metrics.job_seconds.labels(kind=job.kind).observe(seconds)
                log.info("job.ended", outcome=outcome, seconds=round(seconds, 3))
        finally:
            self._leases.release(hold)
            self._running.discard(hold)
            if not self._running:
                self._idle.set()

    async def _work(self, hold: Hold) -> BaseException | None:
        """How the handler ended: None for success."""
        hold.work = asyncio.create_task(self._bounded(hold))
        if hold.lost or hold.drained:
            hold.stop()
        await asyncio.wait({hold.work})
        return asyncio.CancelledError() if hold.work.cancelled() else hold.work.exception()

    async def _bounded(self, hold: Hold) -> None:
        seconds = time_limit(hold.job, self._context.settings.worker)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await self._handlers[JobKind(hold.job.kind)].run(hold.job, hold)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise JobTimeout(f"The attempt took longer than {seconds:.0f} s.") from error

    async def _settle(self, hold: Hold, error: BaseException | None) -> str:
        """Bring the end of the work into the database; the outcome as metrics call it."""
        if error is None:
            return await self._succeeded(hold)
        if not hold.lost and not isinstance(error, LeaseLost):
            try:
                if hold.drained or isinstance(error, asyncio.CancelledError):
                    return await self._given_back(hold)
                return await self._failed(hold, error)
            except LeaseLost:
                log.info("job.fence_refused")
        self._context.metrics.lease_lost.inc()
        return "lease_lost"  # somebody else has it, or the sweep will hand it on

    async def _succeeded(self, hold: Hold) -> str:
        self._leases.release(hold)
        since = datetime.now(UTC) - hold.job.created_at
        self._context.metrics.job_turnaround_seconds.labels(kind=hold.job.kind).observe(since.total_seconds())
        await self._context.signals.ended(hold.job.id)
        await self._handlers[JobKind(hold.job.kind)].tidy(hold.job)
        return "succeeded"

    async def _given_back(self, hold: Hold) -> str:
        await self._requeue(hold, 0.0, None, give_back_attempt=True)
        return "given_back"

    async def _failed(self, hold: Hold, error: BaseException) -> str:
        settings = self._context.settings.worker
        fate = decide(error, hold.job.attempts, settings.max_attempts, self._random)
        log.warning("job.error", code=fate.code, detail=fate.detail, exc_info=None if _is_named(error) else error)
        if isinstance(fate, RetryAfter):
            failure = JobFailure(fate.code, fate.detail)
            await self._requeue(hold, fate.seconds, failure, give_back_attempt=fate.free)
            return "retried"
        await self._leases.settle(hold, lambda repository: self._fail(repository, hold, fate))
        self._context.metrics.jobs_failed.labels(kind=hold.job.kind, code=fate.code).inc()
        await self._context.signals.ended(hold.job.id)
        return "failed"

    async def _fail(self, repository: Repository, hold: Hold, fate: FailWith) -> None:
        if not await repository.jobs.fail(hold.lease, JobFailure(fate.code, fate.detail, fate.extras)):
            raise LeaseLost("The lease was lost before the failure was written.")
        await self._handlers[JobKind(hold.job.kind)].on_failure(repository, hold.job, fate.code)

    async def _requeue(
        self, hold: Hold, delay: float, failure: JobFailure | None, *, give_back_attempt: bool = False
    ) -> None:
        epoch = await self._leases.settle(
            hold,
            lambda repository: repository.jobs.requeue(hold.lease, delay, failure, give_back_attempt=give_back_attempt),
        )
        if epoch is None:
            raise LeaseLost("The lease was lost before the job went back to the queue.")
        kind = JobKind(hold.job.kind)
        await self._context.bell.ring(Ring(hold.job.id, kind, epoch, delay, hold.job.bell))


def time_limit(job: Job, settings: WorkerSettings) -> float:
    """Seconds that one attempt may take."""
    return settings.job_timeout + job.size / settings.job_min_rate


def is_suspect(job: Job) -> bool:
    """Whether a job that was just claimed may kill its worker: so many attempts before, and the last one said nothing
    of how it ended."""
    return job.attempts > SUSPECT_LOSSES and job.error_code is None


def _waited(job: Job, settings: WorkerSettings) -> float:
    """Seconds from due to claim, both by the clock of the database."""
    assert job.lease_until is not None
    return max(0.0, (job.lease_until - job.next_attempt_at).total_seconds() - settings.lease_seconds)


def _is_named(error: BaseException) -> bool:
    """Whether the code says enough, so that the log needs no traceback."""
    return hasattr(error, "code")
