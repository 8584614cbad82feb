"""Jobs: what a client polls. A waiting poll costs no query of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from common.db.database import Database
from common.db.models import Job
from common.db.paging import Page
from common.errors import DatabaseUnavailable, JobNotFound, JobNotRetryable
from common.ids import is_id
from common.queue import Bell, Ring
from common.signals import Signals
from common.states import JOB_FINAL, JobKind, JobState
from common.telemetry import get_logger
from gateway.service.caller import Caller

log = get_logger(__name__)

LOOK_SECONDS = 1.0  # how late a waiting client hears of the end when Redis lost the wake-up


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job and how many bytes it has gone through."""

    job: Job
    done: int

    @property
    def final(self) -> bool:
        return JobState(self.job.state) in JOB_FINAL


class Waiters:
    """All polls of this process that wait for a job, woken by Redis or by one look at the database for all."""

    def __init__(self, database: Database, signals: Signals) -> None:
        self._database = database
        self._signals = signals
        self._events: dict[str, set[asyncio.Event]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._signals.listen(self.wake), name="waiters-listen"),
            asyncio.create_task(self._look(), name="waiters-look"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> None:
        """Answer every waiting poll now, and let none wait any more: the server is shutting down."""
        self._closing = True
        for job_id in list(self._events):
            self.wake(job_id)

    def wake(self, job_id: str) -> None:
        for event in self._events.get(job_id, ()):
            event.set()

    @contextmanager
    def waiting(self, job_id: str) -> Iterator[asyncio.Event]:
        """Registered before the state is read, so that an end between the two is not missed."""
        event = asyncio.Event()
        if self._closing:
            event.set()
        events = self._events.setdefault(job_id, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._events.pop(job_id, None)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._events:
                continue
            with suppress(DatabaseUnavailable):
                async with self._database.reading() as db:
                    ended = await db.jobs.final_states(list(self._events)[:1000])
                for job_id in ended:
                    self.wake(job_id)


class JobService:
    """See the module."""

    def __init__(self, database: Database, bell: Bell, signals: Signals, waiters: Waiters, max_wait: float) -> None:
        self._database = database
        self._bell = bell
        self._signals = signals
        self._waiters = waiters
        self._max_wait = max_wait

    async def status(self, caller: Caller, job_id: str, wait: float = 0) -> JobStatus:
        """The job now, or at its end if that comes within `wait` seconds. Raises JobNotFound."""
        job = await self._load(caller, job_id)
        if wait > 0 and JobState(job.state) not in JOB_FINAL:
            with self._waiters.waiting(job_id) as ended:
                job = await self._load(caller, job_id)
                if JobState(job.state) not in JOB_FINAL:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(wait, self._max_wait)):
                            await ended.wait()
                    job = await self._load(caller, job_id)
        return await self.status_of(job)

    async def status_of(self, job: Job) -> JobStatus:
        """Adds the progress: all of it at the end, what the worker last reported before."""
        if job.state == JobState.RUNNING:
            return JobStatus(job, min(await self._signals.progress(job.id) or 0, job.size))
        return self.listed(job)

    def listed(self, job: Job) -> JobStatus:
        """As a page shows it: without asking Redis for the progress of each."""
        return JobStatus(job, job.size if job.state == JobState.SUCCEEDED else 0)

    async def page(
        self, caller: Caller, state: JobState | None, kind: JobKind | None, cursor: str | None, limit: int
    ) -> Page[Job]:
        """Newest first. Raises InvalidRequest for a foreign cursor."""
        async with self._database.reading() as db:
            return await db.jobs.page(caller.tenant, state=state, kind=kind, cursor=cursor, limit=limit)

    async def retry(self, caller: Caller, job_id: str) -> JobStatus:
        """Drive a dead letter again, with all its attempts. Raises JobNotFound, JobNotRetryable."""
        await self._load(caller, job_id)
        async with self._database.transaction() as db:
            job = await db.jobs.redrive(caller.tenant, job_id)
        if job is None:
            raise JobNotRetryable("Only a job that failed with attempts_exhausted can be driven again.")
        await self._bell.ring(Ring(job.id, JobKind(job.kind), job.epoch))
        log.info("job.redriven", job_id=job.id)
        return await self.status_of(job)

    async def _load(self, caller: Caller, job_id: str) -> Job:
        if is_id(job_id):
            async with self._database.reading() as db:
                job = await db.jobs.get(caller.tenant, job_id)
            if job is not None:
                return job
        raise JobNotFound("There is no job with this id; it may have been removed after it ended.")
