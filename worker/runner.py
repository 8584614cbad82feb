"""The wrapper around every job: lease, log context, metrics and time limit. How it ends is in `settling`."""

from __future__ import annotations

import asyncio
import random as random_module
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

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
from worker.suspects import SuspectLine, is_suspect
from worker.tracing import attempt_span, tell

log = get_logger(__name__)

CLAIM_PATIENCE = 10.0  # seconds to go on trying to claim while the database is away; then the sweep rings again
CLAIM_PAUSE = 0.5
RINGS_AT_ONCE = 4  # of several jobs each, claimed and run together

Result = TypeVar("Result")


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
        self._claims = 0  # that are on their way
        self._stopping = False
        self._suspects = SuspectLine()
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
        self._go_on()
        holds = await self._claimed([job_id for ring in rings for job_id in ring])
        running = asyncio.create_task(self._run_claimed(holds)) if holds else None
        return [running] * len(rings)

    async def _claimed(self, job_ids: Sequence[str]) -> list[Hold]:
        """What a claim gives belongs to what runs from the first moment on: a worker that stops waits for both."""
        self._claims += 1
        self._idle.clear()
        try:
            holds = await self._claim(job_ids)
            self._running.update(holds)
            return holds
        except Exception:
            log.exception("job.not_claimed", job_ids=job_ids)
            return []
        finally:
            self._claims -= 1
            self._rest()

    async def _run_claimed(self, holds: Sequence[Hold]) -> None:
        together = await self._picked(holds)
        others = [hold for hold in holds if hold not in together]
        if not others:
            await self._guarded_together(together)
        else:
            await asyncio.gather(self._guarded_together(together), *map(self._guarded, others))

    async def _picked(self, holds: Sequence[Hold]) -> Mapping[Hold, Upload]:
        try:
            return await self._small_files.pick(holds)
        except Exception:
            log.exception("job.not_picked", job_ids=[hold.job.id for hold in holds])
            return {}  # each runs by itself

    async def _guarded(self, hold: Hold) -> None:
        with bound_contextvars(**_facts(hold)):
            try:
                await self._in_turn(hold)
            except Exception:
                log.exception("job.wrapper_failed")
            finally:
                self._leave([hold])

    async def _guarded_together(self, picked: Mapping[Hold, Upload]) -> None:
        try:
            if picked:
                await self._attempt_together(picked)
        except Exception:
            log.exception("job.wrapper_failed", job_ids=[hold.job.id for hold in picked])
        finally:
            self._leave(list(picked))

    def _leave(self, holds: Sequence[Hold]) -> None:
        for hold in holds:
            self._leases.release(hold)
        self._running.difference_update(holds)
        self._rest()

    def _rest(self) -> None:
        if not self._running and not self._claims:
            self._idle.set()

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
        if not is_suspect(hold.job):
            await self._attempt(hold)
        elif self._suspects.runs:
            try:
                await self._settling.requeue(hold, self._suspects.place(), None, give_back_attempt=True)
            except LeaseLost:
                log.info("job.fence_refused")
        else:
            self._suspects.runs = True
            try:
                await self._attempt(hold)
            finally:
                self._suspects.runs = False

    async def _attempt(self, hold: Hold) -> None:
        began = self._begin([hold])
        running = self._context.metrics.jobs_running.labels(kind=hold.job.kind).track_inprogress()
        with attempt_span(self._context.tracer, hold) as span, running:
            error = await self._work(hold)
            tell(span, await self._end(hold, error, began), error)

    async def _attempt_together(self, picked: Mapping[Hold, Upload]) -> None:
        """Small jobs as one: what is the same for all is done once. Each that went wrong ends as it would alone."""
        holds, metrics = list(picked), self._context.metrics
        began, kind = self._begin(holds), holds[0].job.kind
        metrics.jobs_running.labels(kind=kind).inc(len(holds))
        try:
            errors = await self._work_together(picked)
            done = [hold for hold, error in zip(holds, errors, strict=True) if error is None]
            await self._settling.succeeded_together(done)
            metrics.jobs.labels(kind=kind, outcome="succeeded").inc(len(done))
            for hold in done:
                self._note(hold, "succeeded", began, **_facts(hold))
            for hold, error in zip(holds, errors, strict=True):
                if error is not None:
                    with bound_contextvars(**_facts(hold)):
                        await self._end(hold, error, began)
        finally:
            metrics.jobs_running.labels(kind=kind).dec(len(holds))

    def _begin(self, holds: Sequence[Hold]) -> float:
        """Now, by this process's monotonic clock, in seconds."""
        for hold in holds:
            waited = _waited(hold.job, self._context.settings.worker)
            self._context.metrics.job_wait_seconds.labels(kind=hold.job.kind).observe(waited)
        return time.monotonic()

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
        handler = self._handlers[JobKind(hold.job.kind)]
        work = asyncio.create_task(self._bounded([hold], partial(handler.run, hold.job, hold)))
        _hand_over(work, [hold])
        await asyncio.wait({work})
        return asyncio.CancelledError() if work.cancelled() else work.exception()

    async def _work_together(self, picked: Mapping[Hold, Upload]) -> Sequence[BaseException | None]:
        """The same for each. Who stops one stops all: those that were not meant are given back."""
        work = asyncio.create_task(self._bounded(picked, partial(self._small_files.run, picked)))
        _hand_over(work, picked)
        await asyncio.wait({work})
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        return work.result() if error is None else [error] * len(picked)

    async def _bounded(self, holds: Iterable[Hold], work: Callable[[], Awaitable[Result]]) -> Result:
        seconds = sum(time_limit(hold.job, self._context.settings.worker) for hold in holds)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await work()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise JobTimeout(f"The attempt took longer than {seconds:.0f} s.") from error


def _hand_over(work: asyncio.Task[Any], holds: Iterable[Hold]) -> None:
    """To who stops it; it may have been stopped before it began."""
    for hold in holds:
        hold.work = work
        if hold.lost or hold.drained:
            hold.stop()


def time_limit(job: Job, settings: WorkerSettings) -> float:
    """Seconds that one attempt may take."""
    return settings.job_timeout + job.size / settings.job_min_rate


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
