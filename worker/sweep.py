"""The sweep: finds what was left behind, every few seconds, in one worker of all.

Whose pass it is stands in a row of the database; who dies in the middle of one holds nothing up. Each step stands
alone: its own short transactions, its own errors. Every move is a compare-and-set, so two passes at once do no harm;
who moved a row does what follows from it.

It has two parts, side by side: jobs of dead workers and lost bells do not wait for a storage that is slow to answer, or
hangs.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

from common.db.models import File, Job, Upload
from common.errors import AttemptsExhausted, SluiceError
from common.queue import Ring, ring_of
from common.states import JobKind, JobState, UploadState
from common.storage.base import ObjectKey, UploadKey
from common.tasks import cancelled
from common.telemetry import get_logger
from worker.context import WorkerContext
from worker.expiry import Expiry
from worker.finals import Finals
from worker.measure import count_backlog, forget_counts, measure
from worker.side_by_side import each

log = get_logger(__name__)

AT_ONCE = 100  # rows of one step that cost a storage call each
LOST_AT_ONCE = 500  # jobs that go back in one transaction
BELLS_AT_ONCE = 500  # bells that are looked at in one round trip
BELL_ROUNDS = 4  # rounds of one pass while bells turn out to be lost
PURGE_AT_ONCE = 1000
PURGE_MARGIN = 3600.0  # seconds that a job outlives the moment at which its upload is given up
LONGEST_HEAD_START = 3600.0  # seconds; ARQ forgets a ring that is a day late

FORGET_COUNTS = 2  # passes; by then somebody else has counted

TURN = "sweep"
SHORTEST_REST = 0.5  # of SLUICE_SWEEP_SECONDS, between two passes of all workers together
CLOSE_SECONDS = 2.0  # for a step that is cancelled

Step = Callable[[], Awaitable[bool]]
"""Whether it stopped with more to do, and got on."""


class Part(StrEnum):
    """Of a pass: what hands on jobs, and what removes. The label of the metric."""

    JOBS = "jobs"
    STORAGE = "storage"


class Sweep:
    """The steps, and the task that runs them."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._database = context.database
        self._storage = context.storage
        self._expiry = Expiry(context)
        self._cleaned_to = ""  # where the next pass goes on: ids, in order
        self._deleted_to = ""
        self._counted_at = time.monotonic()
        self._retention = context.settings.limits.retention
        self._name = f"{socket.gethostname()[:40]}:{os.getpid()}"
        self._finals = Finals(context, self._name)
        self._steps: dict[Part, tuple[Step, ...]] = {
            Part.JOBS: (self.take_back_lost, self.ring_again, self.measure),
            Part.STORAGE: (self.start_finals, self.expire, self.clean, self.delete, self.purge),
        }
        for part in Part:
            context.metrics.last_sweep.labels(part=part)  # 0 until its first time, which is long ago for an alert

    async def run(self) -> None:
        """Sweep for ever, when it is our turn; measure every time. Ends by cancellation."""
        pause = self._context.settings.worker.sweep_seconds
        removing: asyncio.Task[None] | None = None
        try:
            while True:
                # so that workers do not march in step
                await asyncio.sleep(pause * random.uniform(SHORTEST_REST, 1.0))  # noqa: S311
                if not await self._guarded(self.my_turn):
                    await self._guarded(self.measure)
                    continue
                if removing is None or removing.done():
                    removing = asyncio.create_task(self._until_done(Part.STORAGE))
                await self._until_done(Part.JOBS)
        finally:
            await cancelled([removing] if removing is not None else [], CLOSE_SECONDS)

    async def my_turn(self) -> bool:
        """Whether the next pass is due and ours."""
        seconds = SHORTEST_REST * self._context.settings.worker.sweep_seconds
        async with self._database.transaction() as repository:
            return await repository.passes.take(TURN, self._name, seconds)

    async def once(self) -> bool:
        """One pass over all steps, and whether another is worth it at once."""
        more = [await self.once_over(part) for part in Part]
        return any(more)

    async def once_over(self, part: Part) -> bool:
        """The same for a part of them."""
        more = [await self._guarded(step) for step in self._steps[part]]
        if None not in more:
            self._context.metrics.last_sweep.labels(part=part).set_to_current_time()
        if part == Part.JOBS:
            await self._guarded(self.count)  # no step: where it takes too long the sweep goes on all the same
        return any(more)

    async def _until_done(self, part: Part) -> None:
        while await self.once_over(part):
            pass

    async def _guarded(self, step: Step) -> bool | None:
        """What the step says; None where it fails, which does not keep the others."""
        try:
            return await step()
        except SluiceError as error:
            log.warning("sweep.step_failed", step=step.__name__, code=error.code)
        except Exception:
            log.exception("sweep.step_failed", step=step.__name__)
        return None

    async def take_back_lost(self) -> bool:
        """Jobs whose worker is silent go back to the queue; those without attempts left are dead letters."""
        most = self._context.settings.worker.max_attempts
        async with self._database.transaction() as repository:
            jobs = await repository.jobs.take_back_lost(most, LOST_AT_ONCE)
        for job in jobs:
            self._count("attempts_exhausted" if job.state == JobState.FAILED else "lease_lost", job)
        dead = [job.id for job in jobs if job.state == JobState.FAILED]
        await asyncio.gather(*map(self._context.signals.ended, dead))
        await self._context.bell.ring(*(_ring(job) for job in jobs if job.state != JobState.FAILED))
        return len(jobs) >= LOST_AT_ONCE

    async def ring_again(self) -> bool:
        """Due jobs that nobody took and whose bell is not in the queue any more (Redis was emptied or away).

        A long queue is silent too, and nothing is wrong with it: its bells are seen to hang and left alone, so that
        10,000 waiting jobs cost one select, one round trip and one update a pass, and keep their order.
        """
        for kind in JobKind:
            for _ in range(BELL_ROUNDS):
                if not await self._ring_some_again(kind):
                    break
        return False

    async def _ring_some_again(self, kind: JobKind) -> bool:
        """Whether bells were lost and there may be more of them."""
        silent = self._context.settings.worker.sweep_seconds
        async with self._database.reading() as repository:
            jobs = await repository.jobs.unheard(kind, silent, BELLS_AT_ONCE)
        hanging = await self._context.bell.hanging([_ring(job) for job in jobs]) if jobs else None
        if hanging is None:
            return False  # none are silent; or Redis is away, and there is nothing to ring
        lost = [job.id for job in jobs if job.id not in hanging]
        async with self._database.transaction() as repository:
            await repository.jobs.still_hangs(hanging)
            moved = await repository.jobs.ring_again(lost, silent)
        for job in moved:
            self._count("bell_lost", job)
        await self._context.bell.ring(*map(_ring, moved))
        return bool(lost) and len(jobs) >= BELLS_AT_ONCE

    async def start_finals(self) -> bool:
        """Final uploads whose parts have all arrived, and that nobody has started."""
        await self._finals.start()
        return False

    async def expire(self) -> bool:
        """Open uploads whose time is over end, unless bytes still arrive."""
        return await self._expiry.some()

    async def clean(self) -> bool:
        """Whatever ended uploads still have in the storage."""
        async with self._database.reading() as repository:
            left = await repository.uploads.uncleaned(AT_ONCE, self._cleaned_to)
        self._cleaned_to = left[-1].id if len(left) == AT_ONCE else ""
        await each("upload.not_cleaned", {upload.id: partial(self._clean, upload) for upload in left})
        return len(left) == AT_ONCE

    async def _clean(self, upload: Upload) -> None:
        await self._storage.abort(UploadKey(upload.tenant, upload.id))
        if upload.file_id is not None and upload.state != UploadState.COMPLETE:
            await self._storage.delete(ObjectKey(upload.tenant, upload.file_id))  # sealed, never published
        async with self._database.transaction() as repository:
            await repository.uploads.mark_cleaned(upload.id)
        self._context.metrics.swept.labels(reason="cleaned").inc()

    async def delete(self) -> bool:
        """The bytes, then the rows, of deleted files."""
        async with self._database.reading() as repository:
            files = await repository.files.deleting(AT_ONCE, self._deleted_to)
        self._deleted_to = files[-1].id if len(files) == AT_ONCE else ""
        await each("file.not_deleted", {file.id: partial(self._delete, file) for file in files})
        return len(files) == AT_ONCE

    async def _delete(self, file: File) -> None:
        await self._storage.delete(ObjectKey(file.tenant, file.id))
        async with self._database.transaction() as repository:
            await repository.files.remove(file.id)
        self._context.metrics.swept.labels(reason="deleted").inc()
        log.info("file.deleted", file_id=file.id)

    async def purge(self) -> bool:
        """Rows past their retention. Dead letters first: their uploads are given up while the job is still there."""
        async with self._database.transaction() as repository:
            given_up = await repository.uploads.give_up_dead_letters(self._retention, PURGE_AT_ONCE)
            self._context.metrics.swept.labels(reason="given_up").inc(given_up)
            if given_up >= PURGE_AT_ONCE:
                return True
            uploads = await repository.uploads.purge(self._retention, PURGE_AT_ONCE)
            jobs = await repository.jobs.purge(self._retention + PURGE_MARGIN, PURGE_AT_ONCE)
        return max(uploads, jobs) >= PURGE_AT_ONCE

    async def measure(self) -> bool:
        """What every worker measures. Counts of a pass of ours that is long over would only mislead."""
        await measure(self._context)
        if time.monotonic() - self._counted_at > FORGET_COUNTS * self._context.settings.worker.sweep_seconds:
            forget_counts(self._context)
        return False

    async def count(self) -> bool:
        """What only the one counts whose turn it is, because it costs more the more waits."""
        await count_backlog(self._context)
        self._counted_at = time.monotonic()
        return False

    def _count(self, reason: str, job: Job) -> None:
        self._context.metrics.swept.labels(reason=reason).inc()
        if job.state == JobState.FAILED:
            self._context.metrics.jobs_failed.labels(kind=job.kind, code=AttemptsExhausted.code).inc()
        log.info("job.swept", reason=reason, job_id=job.id, kind=job.kind, attempts=job.attempts)


def _ring(job: Job) -> Ring:
    """The job's present ring, with a head start for the time that it has been waiting."""
    waited = (datetime.now(UTC) - job.next_attempt_at).total_seconds()
    return ring_of(job, -min(max(waited, 0.0), LONGEST_HEAD_START))
