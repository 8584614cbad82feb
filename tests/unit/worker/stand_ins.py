"""A database whose answers the test decides, and a clock that it turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from common.db.database import Database
from common.db.jobs import Lease
from common.db.models import Job
from common.errors import DatabaseUnavailable
from worker.lease import Hold


class Clock:
    """Monotonic seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeDatabase:
    """`jobs`, `files` and `transaction` of a Database, remembering what was asked."""

    def __init__(self) -> None:
        self.away = False
        self.gate: asyncio.Event | None = None  # until it is set no transaction begins
        self.entered = asyncio.Event()  # one is waiting there, or was
        self.broken: Exception | None = None
        self.kept: set[str] = set()
        self.transactions = 0
        self.written: dict[str, Mapping[str, Any]] = {}
        self.jobs = self.files = self

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[FakeDatabase]:
        self.transactions += 1
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise DatabaseUnavailable("away")
        if self.broken is not None:
            raise self.broken
        yield self

    async def claim(self, job_ids: Sequence[str], owner: str, lease_seconds: float) -> list[Job]:
        del owner, lease_seconds
        self.kept |= set(job_ids)
        return [Job(id=job_id, fence=1) for job_id in job_ids]

    async def renew(self, owner: str, job_ids: Iterable[str], lease_seconds: float) -> set[str]:
        del owner, lease_seconds
        return self.kept & set(job_ids)

    async def succeed_all(self, leases: Sequence[Lease]) -> set[str]:
        return self.kept & {lease.job_id for lease in leases}

    async def set_attributes(self, found: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        self.written |= dict(found)

    def as_database(self) -> Database:
        return cast("Database", self)


def hold(job_id: str) -> Hold:
    return Hold(Job(id=job_id), Lease(job_id, "me", 1), 0.0)
