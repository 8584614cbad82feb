"""The wrapper around every job: lease, log context, metrics and time limit. How it ends is in `settling`."""

from __future__ import annotations

import asyncio
import random as random_module
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from arq.worker import RetryJob
from structlog.contextvars import bound_contextvars

from common.db.models import Job, Upload
from common.errors import DatabaseUnavailable, JobTimeout, LeaseLost
from common.gather import Gather
from common.queue import Ring
from common.settings import WorkerSettings
from common.states import JobKind
from common.telemetry import get_logger
from worker.context import WorkerContext
from worker.lease import Hold, Leases
from worker.settling import Handler, Settling
from worker.smallfiles import SmallFiles
from worker.tracing import attempt_span, tell

log = get_logger(__name__)

CLAIM_PATIENCE = 10.0  # seconds to go on trying to claim while the database is away; then the sweep rings again
CLAIM_PAUSE = 0.5
RINGS_AT_ONCE = 4  # of several jobs each, claimed and run together
SUSPECT_LOSSES = 2  # lost workers that may be chance: a deploy and a crash
SUSPECT_SPACING = 0.05  # seconds between two of them in line
SUSPECT_PAUSE = 1.0  # seconds until a suspect that found another one running is rung again


class Runner:
    """Runs the jobs that ARQ rings for. No exception of a job ever reaches ARQ, which would end the job for good."""

    def __init__(
        self,
        context: WorkerContext,
        leases: Leases,
        handlers: Mapping[JobKind, Handler],
        small_files: SmallFiles,
        *,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._context = context
        self._leases = leases
        self._handlers = handlers
        self._small_files = small_files
        self._settling = Settling(context, leases, handlers, random)
        self._rings = Gather(self._run_rings, RINGS_AT_ONCE)
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
        """What ARQ calls for a ring that several small jobs share. They run side by side, and with those of other rings
        that came while the last claim was on its way."""
        del ctx
        self._go_on()
        running = await self._rings.ask(job_ids)
        if running is not None:
            await asyncio.shield(running)

    async def run_here(self, job_id: str) -> None:
        """The same for a ring that only this worker heard (`worker.ahead`); what cannot be run is rung for all."""
        try:
            await self._run([job_id])
        except RetryJob:
            await self._context.bell.ring(Ring(job_id, JobKind.FINALIZE, 0))

    def _go_on(self) -> None:
        if self._stopping:
            raise RetryJob  # ARQ's word for "leave it in the queue": another worker takes it

    async def _run(self, job_ids: Sequence[str]) -> None:
        self._go_on()
        await self._run_claimed(await self._claimed(job_ids))

    async def _run_rings(self, rings: Sequence[Sequence[str]]) -> list[asyncio.Task[None] | None]:
        """One claim for all; what runs then is the same for each of them."""
        holds = await self._claimed([job_id for ring in rings for job_id in ring])
        running = asyncio.create_task(self._run_claimed(holds)) if holds else None
        return [running] * len(rings)

    async def _claimed(self, job_ids: Sequence[str]) -> list[Hold]:
        try:
            return await self._claim(job_ids)
        except Exception:
            log.exception("job.not_claimed", job_ids=job_ids)
            return []

    async def _run_claimed(self, holds: Sequence[Hold]) -> None:
        together = await self._small_files.pick(holds)
        others = [hold for hold in holds if hold not in together]
        if not others:
            await self._guarded_together(together)
        else:
            await asyncio.gather(self._guarded_together(together), *map(self._guarded, others))

    async def _guarded(self, hold: Hold) -> None:
        with bound_contextvars(job_id=hold.job.id):
            try:
                await self._in_turn(hold)
            except Exception:
                log.exception("job.wrapper_failed")

    async def _guarded_together(self, picked: Mapping[Hold, Upload]) -> None:
        try:
            if picked:
                await self._attempt_together(picked)
        except Exception:
            log.exception("job.wrapper_failed", job_ids=[hold.job.id for hold in picked])

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
            await self._settling.requeue(hold, self._next_suspect - now, None, give_back_attempt=True)
        except LeaseLost:
            log.info("job.fence_refused")
        finally:
            self._leases.release(hold)

    async def _attempt(self, hold: Hold) -> None:
        job, metrics = hold.job, self._context.metrics
        began = self._begin([hold])
        known = bound_contextvars(**_facts(hold))
        try:
            running = metrics.jobs_running.labels(kind=job.kind).track_inprogress()
            with known, attempt_span(self._context.tracer, hold) as span, running:
                error = await self._work(hold)
                tell(span, await self._end(hold, error, began), error)
        finally:
            self._leave([hold])

    async def _attempt_together(self, picked: Mapping[Hold, Upload]) -> None:
        """Small jobs as one: what is the same for all is done once. Each that went wrong ends as it would alone."""
        holds = list(picked)
        began = self._begin(holds)
        kind = holds[0].job.kind
        running = self._context.metrics.jobs_running.labels(kind=kind)
        running.inc(len(holds))
        try:
            errors = await self._work_together(picked)
            done = [hold for hold, error in zip(holds, errors, strict=True) if error is None]
            await self._settling.succeeded_together(done)
            self._context.metrics.jobs.labels(kind=kind, outcome="succeeded").inc(len(done))
            for hold in done:
                self._note(hold, "succeeded", began, **_facts(hold))
            for hold, error in zip(holds, errors, strict=True):
                if error is not None:
                    with bound_contextvars(**_facts(hold)):
                        await self._end(hold, error, began)
        finally:
            running.dec(len(holds))
            self._leave(holds)

    def _begin(self, holds: Sequence[Hold]) -> float:
        """By this process's monotonic clock, in seconds."""
        for hold in holds:
            waited = _waited(hold.job, self._context.settings.worker)
            self._context.metrics.job_wait_seconds.labels(kind=hold.job.kind).observe(waited)
        self._running.update(holds)
        self._idle.clear()
        return time.monotonic()

    def _leave(self, holds: Sequence[Hold]) -> None:
        for hold in holds:
            self._leases.release(hold)
        self._running.difference_update(holds)
        if not self._running:
            self._idle.set()

    async def _end(self, hold: Hold, error: BaseException | None, began: float) -> str:
        outcome = await self._settling.settle(hold, error)
        self._context.metrics.jobs.labels(kind=hold.job.kind, outcome=outcome).inc()
        self._note(hold, outcome, began)
        return outcome

    def _note(self, hold: Hold, outcome: str, began: float, **facts: Any) -> None:
        seconds = time.monotonic() - began
        self._context.metrics.job_seconds.labels(kind=hold.job.kind).observe(seconds)
        log.info("job.ended", outcome=outcome, seconds=round(seconds, 3), **facts)

    async def _work(self, hold: Hold) -> BaseException | None:
        """How the handler ended: None for success."""
        hold.work = asyncio.create_task(self._bounded(hold))
        if hold.lost or hold.drained:
            hold.stop()
        await asyncio.wait({hold.work})
        return asyncio.CancelledError() if hold.work.cancelled() else hold.work.exception()

    async def _work_together(self, picked: Mapping[Hold, Upload]) -> Sequence[BaseException | None]:
        """The same for each. Who stops one stops all: those that were not meant are given back."""
        work = asyncio.create_task(self._bounded_together(picked))
        for hold in picked:
            hold.work = work
            if hold.lost or hold.drained:
                hold.stop()
        await asyncio.wait({work})
        if work.cancelled():
            return [asyncio.CancelledError()] * len(picked)
        error = work.exception()
        return work.result() if error is None else [error] * len(picked)

    async def _bounded_together(self, picked: Mapping[Hold, Upload]) -> Sequence[BaseException | None]:
        seconds = sum(time_limit(hold.job, self._context.settings.worker) for hold in picked)
        try:
            async with asyncio.timeout(seconds):
                return await self._small_files.run(picked)
        except TimeoutError as error:
            raise JobTimeout(f"The attempt took longer than {seconds:.0f} s.") from error

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


def time_limit(job: Job, settings: WorkerSettings) -> float:
    """Seconds that one attempt may take."""
    return settings.job_timeout + job.size / settings.job_min_rate


def is_suspect(job: Job) -> bool:
    """Whether a job that was just claimed may kill its worker: so many attempts before, and the last one said nothing
    of how it ended."""
    return job.attempts > SUSPECT_LOSSES and job.error_code is None


def _facts(hold: Hold) -> dict[str, Any]:
    """What the log says with every line about a job."""
    job = hold.job
    return {
        "job_id": job.id,
        "kind": job.kind,
        "upload_id": job.upload_id,
        "request_id": job.request_id,
        "attempt": job.attempts,
    }


def _waited(job: Job, settings: WorkerSettings) -> float:
    """Seconds from due to claim, both by the clock of the database."""
    assert job.lease_until is not None
    return max(0.0, (job.lease_until - job.next_attempt_at).total_seconds() - settings.lease_seconds)
