"""How an attempt ends: what is written to its row, who is told, and what is tidied."""

from __future__ import annotations

import asyncio
import random as random_module
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from common.db.jobs import JobFailure
from common.db.models import Job
from common.db.repository import Repository
from common.errors import LeaseLost
from common.queue import Ring
from common.states import JobKind
from common.telemetry import get_logger
from worker.context import WorkerContext
from worker.lease import Hold, Leases
from worker.retry import FailWith, RetryAfter, decide

log = get_logger(__name__)


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


class Settling:
    """See the module. `random` gives [0, 1), for the spread of retries."""

    def __init__(
        self,
        context: WorkerContext,
        leases: Leases,
        handlers: Mapping[JobKind, Handler],
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._context = context
        self._leases = leases
        self._handlers = handlers
        self._random = random

    async def settle(self, hold: Hold, error: BaseException | None) -> str:
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

    async def succeeded_together(self, holds: Sequence[Hold]) -> None:
        """The same for jobs that leave nothing to tidy."""
        if not holds:
            return
        now = datetime.now(UTC)
        for hold in holds:
            self._leases.release(hold)
            turnaround = self._context.metrics.job_turnaround_seconds.labels(kind=hold.job.kind)
            turnaround.observe((now - hold.job.created_at).total_seconds())
        await self._context.signals.ended(*(hold.job.id for hold in holds))

    async def _given_back(self, hold: Hold) -> str:
        await self.requeue(hold, 0.0, None, give_back_attempt=True)
        return "given_back"

    async def _failed(self, hold: Hold, error: BaseException) -> str:
        settings = self._context.settings.worker
        fate = decide(error, hold.job.attempts, settings.max_attempts, self._random)
        log.warning("job.error", code=fate.code, detail=fate.detail, exc_info=None if _is_named(error) else error)
        if isinstance(fate, RetryAfter):
            failure = JobFailure(fate.code, fate.detail)
            await self.requeue(hold, fate.seconds, failure, give_back_attempt=fate.free)
            return "retried"
        await self._leases.settle(hold, lambda repository: self._fail(repository, hold, fate))
        self._context.metrics.jobs_failed.labels(kind=hold.job.kind, code=fate.code).inc()
        await self._context.signals.ended(hold.job.id)
        return "failed"

    async def _fail(self, repository: Repository, hold: Hold, fate: FailWith) -> None:
        if not await repository.jobs.fail(hold.lease, JobFailure(fate.code, fate.detail, fate.extras)):
            raise LeaseLost("The lease was lost before the failure was written.")
        await self._handlers[JobKind(hold.job.kind)].on_failure(repository, hold.job, fate.code)

    async def requeue(
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


def _is_named(error: BaseException) -> bool:
    """Whether the code says enough, so that the log needs no traceback."""
    return hasattr(error, "code")
