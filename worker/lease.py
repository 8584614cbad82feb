"""Leases: claim a job, keep it by one heartbeat per process, notice when it is lost.

A worker that lost a lease may not know it yet. So nothing here is trusted at the end: every write that ends a job
compares the fence (`common.db.jobs`). What is here only makes a zombie stop early.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from common.db.database import Database
from common.db.jobs import Lease
from common.db.models import Job
from common.db.repository import Repository
from common.errors import DatabaseUnavailable, LeaseLost
from common.settings import WorkerSettings
from common.telemetry import get_logger

log = get_logger(__name__)

T = TypeVar("T")

RETRY_SECONDS = 0.5  # between two tries while the database is away


@dataclass(eq=False, slots=True)
class Hold:
    """A job that this process runs. `renewed_at` is this process's monotonic clock, in seconds."""

    job: Job
    lease: Lease
    renewed_at: float
    work: asyncio.Task[Any] | None = None  # shared with others where small jobs run together
    lost: bool = False
    drained: bool = False
    settling: bool = False  # its last transaction is on the way: from now on only the fence judges

    def stop(self) -> None:
        """Cancel the work; the runner sees in `lost` and `drained` why."""
        if self.work is not None:
            self.work.cancel()


class Leases:
    """The leases of one process, under one owner name, renewed together in one statement."""

    def __init__(
        self, database: Database, settings: WorkerSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.owner = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.ticked_at = clock()
        self._database = database
        self._settings = settings
        self._clock = clock
        self._held: dict[str, Hold] = {}

    async def claim(self, job_ids: Sequence[str]) -> list[Hold]:
        """Take those of the jobs that are to be had. Raises DatabaseUnavailable."""
        began = self._clock()  # before the statement: the database starts counting later than we do
        async with self._database.transaction() as repository:
            jobs = await repository.jobs.claim(job_ids, self.owner, self._settings.lease_seconds)
        holds = [Hold(job, Lease(job.id, self.owner, job.fence), began) for job in jobs]
        self._held |= {hold.lease.job_id: hold for hold in holds}
        return holds

    def release(self, hold: Hold) -> None:
        """Stop renewing: the job has ended, was given back, or is somebody else's."""
        if self._held.get(hold.lease.job_id) is hold:
            del self._held[hold.lease.job_id]

    def alive(self, hold: Hold) -> bool:
        """Whether the lease can still be ours as far as this process knows."""
        return not hold.lost and self._clock() < hold.renewed_at + self._settings.lease_seconds

    async def settle(self, hold: Hold, write: Callable[[Repository], Awaitable[T]]) -> T:
        """Run the transaction that ends or gives back the job, again and again while the database is away.

        Raises LeaseLost when the lease ran out before the database took it, and whatever `write` raises.
        """

        async def transact() -> T:
            async with self._database.transaction() as repository:
                return await write(repository)

        return await self.insist(hold, transact)

    async def insist(self, hold: Hold, settling: Callable[[], Awaitable[T]]) -> T:
        """The same for a transaction that several jobs share."""
        hold.settling = True
        while True:
            try:
                return await settling()
            except DatabaseUnavailable as error:
                if not self.alive(hold):
                    raise LeaseLost("The lease ran out while the database was away.") from error
                await asyncio.sleep(min(RETRY_SECONDS, self._settings.heartbeat_seconds))

    async def keep(self) -> None:
        """The heartbeat, for ever. Ends by cancellation."""
        while True:
            answered = await self.beat()
            rest = self._settings.heartbeat_seconds
            await asyncio.sleep(rest if answered else min(rest, RETRY_SECONDS))

    async def beat(self) -> bool:
        """Renew everything held; whether the database answered. Jobs whose lease is lost are stopped."""
        began = self._clock()
        asked = dict(self._held)
        kept = await self._renew(asked)
        for job_id, hold in asked.items():
            if kept is not None and job_id in kept:
                hold.renewed_at = began
            elif kept is not None or not self.alive(hold):
                self._lose(hold)
        self.ticked_at = self._clock()
        return kept is not None

    async def _renew(self, held: dict[str, Hold]) -> set[str] | None:
        if not held:
            return set()
        try:
            async with self._database.transaction() as repository:
                return await repository.jobs.renew(self.owner, held, self._settings.lease_seconds)
        except DatabaseUnavailable:
            log.warning("lease.not_renewed", jobs=len(held))
        except Exception:  # whatever it is: a heartbeat that ends would take every job of this process with it
            log.exception("lease.not_renewed", jobs=len(held))
        return None

    def _lose(self, hold: Hold) -> None:
        if hold.settling or self._held.get(hold.lease.job_id) is not hold:
            return  # it ended, or is ending, while the heartbeat was on its way
        hold.lost = True
        hold.stop()
