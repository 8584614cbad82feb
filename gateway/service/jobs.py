"""Jobs: what a client polls. A waiting poll costs no query of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from common.chunking import MIB
from common.db.database import Database
from common.db.lookups import Lookups
from common.db.models import Job
from common.db.paging import Page, bounded
from common.errors import DatabaseUnavailable, JobNotFound, JobNotRetryable
from common.ids import is_id
from common.queue import Bell, ring_of
from common.signals import Signals
from common.states import JOB_FINAL, JobKind, JobState
from common.tasks import cancelled
from common.telemetry import get_logger
from gateway.service.caller import Caller

log = get_logger(__name__)

PAGE_BYTES = 4 * MIB  # a page of a listing ends where it passes this
STOP_SECONDS = 5.0  # what the tasks of a process may take to end
LOOK_SECONDS = 1.0  # how late a waiting client hears of the end when Redis lost the wake-up
HEARD_LATELY = 1000  # ended jobs that are remembered
LOOK_BATCH = 1000  # ids in one statement

Gone = Callable[[], Awaitable[None]]
"""Returns when nobody waits for the answer any more. It runs only while a poll is held, and may be cancelled."""


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

    def __init__(self, database: Database, signals: Signals, most: int) -> None:
        """`most` polls are held at once."""
        self._database = database
        self._signals = signals
        self._most = most
        self.held = 0  # polls that wait at this moment
        self._events: dict[str, set[asyncio.Event]] = {}
        self._heard: dict[str, None] = {}  # the jobs whose end was heard last
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._signals.listen(self._ended), name="waiters-listen"),
            asyncio.create_task(self._look(), name="waiters-look"),
        ]

    async def stop(self) -> None:
        await cancelled(self._tasks, STOP_SECONDS)

    def release(self) -> None:
        """Answer every waiting poll now, and let none wait any more: the server is shutting down."""
        self._closing = True
        for job_id in list(self._events):
            self.wake(job_id)

    def wake(self, job_id: str) -> None:
        for event in self._events.get(job_id, ()):
            event.set()

    def _ended(self, job_id: str) -> None:
        """Who asks for it in the next moment need not wait."""
        self._heard[job_id] = None
        if len(self._heard) > HEARD_LATELY:
            del self._heard[next(iter(self._heard))]
        self.wake(job_id)

    @property
    def full(self) -> bool:
        """Whether no further poll may be held: it is answered at once instead."""
        return self.held >= self._most

    @contextmanager
    def waiting(self, job_id: str, *, new: bool = False) -> Iterator[asyncio.Event]:
        """Registered before the state is read, so that an end between the two is not missed; of a `new` job the end may
        have been heard already."""
        event = asyncio.Event()
        if self._closing or (new and job_id in self._heard):
            event.set()
        events = self._events.setdefault(job_id, set())
        events.add(event)
        self.held += 1
        try:
            yield event
        finally:
            self.held -= 1
            events.discard(event)
            if not events:
                self._events.pop(job_id, None)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._events:
                continue
            waited_for = list(self._events)
            with suppress(DatabaseUnavailable):
                for start in range(0, len(waited_for), LOOK_BATCH):
                    async with self._database.reading() as db:
                        ended = await db.jobs.final_states(waited_for[start : start + LOOK_BATCH])
                    for job_id in ended:
                        self.wake(job_id)


class JobService:
    """See the module."""

    def __init__(
        self,
        database: Database,
        lookups: Lookups,
        bell: Bell,
        signals: Signals,
        waiters: Waiters,
        max_wait: float,
    ) -> None:
        self._database = database
        self._lookups = lookups
        self._bell = bell
        self._signals = signals
        self._waiters = waiters
        self._max_wait = max_wait

    async def status(self, caller: Caller, job_id: str, wait: float = 0, gone: Gone | None = None) -> JobStatus:
        """The job now, or at its end if that comes within `wait` seconds and before `gone`. Raises JobNotFound."""
        job = await self._load(caller, job_id)
        if wait > 0 and JobState(job.state) not in JOB_FINAL and not self._waiters.full:
            with self._waiters.waiting(job_id) as ended:
                job = await self._load(caller, job_id)
                if JobState(job.state) not in JOB_FINAL:
                    await _first_of(min(wait, self._max_wait), ended.wait, gone)
                    job = await self._load(caller, job_id)
        return await self.status_of(job)

    def granted(self, wait: float) -> float:
        """Seconds of `wait` for which an answer may be held: none where too many wait already."""
        return 0 if self._waiters.full else min(wait, self._max_wait)

    async def ended(self, caller: Caller, job: Job, wait: float, gone: Gone) -> JobStatus:
        """The same of a job that was just queued, and need not be looked for before. `wait` was granted. The job is
        accepted whatever happens meanwhile: raises nothing."""
        if wait > 0 and JobState(job.state) not in JOB_FINAL:
            with self._waiters.waiting(job.id, new=True) as ended, suppress(DatabaseUnavailable):
                await _first_of(wait, ended.wait, gone)
                job = await self._load(caller, job.id)
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
        """Newest first; shorter than `limit` where the errors are long. Raises InvalidRequest for a foreign cursor."""
        async with self._database.reading() as db:
            fetch = partial(db.jobs.page, caller.tenant, state=state, kind=kind)
            return await bounded(fetch, cursor, limit, _weight, PAGE_BYTES)

    async def retry(self, caller: Caller, job_id: str) -> JobStatus:
        """Drive a dead letter again, with all its attempts; again: nothing. Raises JobNotFound, JobNotRetryable."""
        await self._load(caller, job_id)
        async with self._database.transaction() as db:
            job = await db.jobs.redrive(caller.tenant, job_id)
        if job is None:
            status = await self.status_of(await self._load(caller, job_id))
            if status.final:
                raise JobNotRetryable("Only a job that failed with attempts_exhausted can be driven again.")
            return status
        await self._bell.ring(ring_of(job))
        log.info("job.redriven", job_id=job.id)
        return await self.status_of(job)

    async def _load(self, caller: Caller, job_id: str) -> Job:
        if is_id(job_id):
            job = await self._lookups.job(caller.tenant, job_id)
            if job is not None:
                return job
        raise JobNotFound("There is no job with this id; it may have been removed after it ended.")


def _weight(job: Job) -> int:
    """About the bytes of a job in a listing; without its error it has less than 1 KiB."""
    return 1024 + len(json.dumps([job.error_detail, job.error_extras]))


async def _first_of(seconds: float, *events: Callable[[], Awaitable[object]] | None) -> None:
    """Wait until one of the events has come or the seconds are over; what an event raises is raised."""
    waits = [asyncio.ensure_future(event()) for event in events if event is not None]
    try:
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for event in done:
            event.result()
    finally:
        for event in waits:
            event.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
