"""A worker that is driven by hand, and storages whose calls can be counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from sqlalchemy import select, update

import worker.app
from common.db.clock import db_now
from common.db.database import Database
from common.db.lookups import Lookups
from common.db.models import Job, Upload
from common.queue import Bell
from common.redis import open_redis
from common.settings import Settings
from common.signals import Signals
from common.states import JobKind, JobState
from common.storage import open_storage
from common.storage.base import Storage
from common.storage.local import LocalStorage
from common.telemetry import Metrics
from worker.context import WorkerContext

PASSES = 10  # of the sweep, until nothing is left to do


@dataclass
class ByHand:
    """A worker that does nothing by itself."""

    context: WorkerContext
    parts: worker.app.Parts

    async def run_due(self, *kinds: JobKind) -> int:
        """Run the queued jobs of these kinds; how many there were."""
        async with self.context.database.reading() as repository:
            query = select(Job).where(Job.state == JobState.QUEUED, Job.kind.in_(kinds))
            jobs = list(await repository.session.scalars(query))
        for job in jobs:
            await self.parts.runner.run_job({}, job.id, job.epoch)
        return len(jobs)

    async def finish(self) -> None:
        """Let time pass and the sweep work, and run jobs, until nothing is waiting; then sweep once more."""
        for _ in range(PASSES):
            await self.let_time_pass()
            await self.parts.sweep.once()
            if not await self.run_due(*JobKind):
                break
        await self.let_time_pass()
        await self.parts.sweep.once()

    async def let_time_pass(self) -> None:
        """Leases run out and waits are over: the clock is the database's, so the rows are moved instead."""
        async with self.context.database.transaction() as repository:
            waiting = update(Job).where(Job.state == JobState.QUEUED)
            running = update(Job).where(Job.state == JobState.RUNNING)
            await repository.session.execute(waiting.values(next_attempt_at=db_now(-60), rung_at=db_now(-60)))
            begun = waiting.where(Job.started_at.is_not(None))  # bytes are waited for from the first attempt on
            await repository.session.execute(begun.values(started_at=db_now(-120)))
            await repository.session.execute(running.values(lease_until=db_now(-60)))
            ended = update(Upload).where(Upload.finished_at.is_not(None))
            await repository.session.execute(
                ended.values(finished_at=db_now(-60))
            )  # nobody tidies up after it any more


@asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[ByHand]:
    database, storage, redis = Database(settings.database), open_storage(settings.storage), open_redis(settings.redis)
    one_thread(storage)
    metrics = Metrics()
    bell, signals = Bell(redis, settings.redis, metrics), Signals(redis, settings.redis)
    context = WorkerContext(settings, database, Lookups(database), storage, bell, signals, metrics)
    parts = worker.app.assemble(context, list(JobKind), redis)
    try:
        yield ByHand(context, parts)
    finally:
        await storage.close()
        await redis.aclose()
        await database.close()


def one_thread(storage: Storage) -> None:
    """strace counts the calls of each thread by itself: one thread makes them all."""
    local = cast("LocalStorage", storage)
    local._threads._pool.shutdown()
    local._threads._pool = ThreadPoolExecutor(1)
    local._sealers = local._threads
