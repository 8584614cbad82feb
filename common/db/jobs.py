"""Statements on jobs: claim, renew, finish, requeue, and what the sweep looks for.

Only the holder of the lease may finish a job: every statement of a worker compares state, owner and fence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from common.db.clock import db_now
from common.db.models import Job
from common.db.paging import Cursor, Page, newest_first
from common.db.statements import Statements
from common.errors import AttemptsExhausted
from common.states import JOB_FINAL, JobKind, JobState


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job: `fence` is compared with every write that the job makes."""

    job_id: str
    owner: str
    fence: int


@dataclass(frozen=True, slots=True)
class JobFailure:
    """What is shown of a failed attempt or job."""

    code: str
    detail: str
    extras: dict[str, Any] | None = None


def _held(lease: Lease) -> ColumnElement[bool]:
    return and_(
        Job.id == lease.job_id,
        Job.state == JobState.RUNNING,
        Job.lease_owner == lease.owner,
        Job.fence == lease.fence,
    )


class Jobs(Statements):
    """Methods with a tenant serve callers; the others serve the worker that runs a job, or the sweep."""

    async def insert(self, job: Job) -> None:
        self._session.add(job)
        await self._session.flush()

    async def get(self, tenant: str, job_id: str) -> Job | None:
        found: Job | None = await self._session.scalar(select(Job).where(Job.tenant == tenant, Job.id == job_id))
        return found

    async def page(
        self, tenant: str, *, state: JobState | None, kind: JobKind | None, cursor: str | None, limit: int
    ) -> Page[Job]:
        query = select(Job).where(Job.tenant == tenant)
        if state is not None:
            query = query.where(Job.state == state)
        if kind is not None:
            query = query.where(Job.kind == kind)
        position = Cursor.decode(cursor) if cursor else None
        rows = list(await self._session.scalars(newest_first(query, Job.created_at, Job.id, position, limit)))
        following = Cursor(rows[limit - 1].created_at, rows[limit - 1].id).encode() if len(rows) > limit else None
        return Page(rows[:limit], following)

    async def final_states(self, job_ids: Iterable[str]) -> set[str]:
        """Which of these jobs have ended. One statement for any number of waiting clients."""
        query = select(Job.id).where(Job.id.in_(list(job_ids)), Job.state.in_([str(state) for state in JOB_FINAL]))
        return set(await self._session.scalars(query))

    # --- for the worker that runs the job -------------------------------------------------------------------

    async def claim(self, job_id: str, owner: str, lease_seconds: float) -> Job | None:
        """queued -> running for this owner; None when somebody else has it, it is not due, or it has ended."""
        statement = (
            update(Job)
            .where(Job.id == job_id, Job.state == JobState.QUEUED, Job.next_attempt_at <= db_now())
            .values(
                state=JobState.RUNNING,
                lease_owner=owner,
                lease_until=db_now(lease_seconds),
                fence=Job.fence + 1,
                attempts=Job.attempts + 1,
                started_at=func.coalesce(Job.started_at, db_now()),
            )
            .returning(Job)
        )
        rows = await self._returned(statement)
        return rows[0] if rows else None

    async def renew(self, owner: str, job_ids: Iterable[str], lease_seconds: float) -> set[str]:
        """Heartbeat of all jobs of one worker in one statement; returns those that it still holds."""
        statement = (
            update(Job)
            .where(Job.id.in_(list(job_ids)), Job.lease_owner == owner, Job.state == JobState.RUNNING)
            .values(lease_until=db_now(lease_seconds))
            .returning(Job.id)
        )
        return set(await self._returned(statement))

    async def succeed(self, lease: Lease, **values: Any) -> bool:
        """running -> succeeded, only for the holder of the lease."""
        return await self._end(lease, JobState.SUCCEEDED, None, **values)

    async def fail(self, lease: Lease, failure: JobFailure) -> bool:
        """running -> failed, only for the holder of the lease."""
        return await self._end(lease, JobState.FAILED, failure)

    async def _end(self, lease: Lease, state: JobState, failure: JobFailure | None, **values: Any) -> bool:
        statement = (
            update(Job)
            .where(_held(lease))
            .values(
                state=state,
                lease_owner=None,
                lease_until=None,
                finished_at=db_now(),
                error_code=failure.code if failure else None,
                error_detail=failure.detail if failure else None,
                error_extras=failure.extras if failure else None,
                **values,
            )
        )
        return await self._changed(statement) == 1

    async def requeue(
        self, lease: Lease, delay: float, failure: JobFailure | None, *, give_back_attempt: bool = False
    ) -> int | None:
        """running -> queued, due in `delay` seconds; returns the epoch of the next bell, None if the lease is lost."""
        statement = (
            update(Job)
            .where(_held(lease))
            .values(
                state=JobState.QUEUED,
                lease_owner=None,
                lease_until=None,
                epoch=Job.epoch + 1,
                attempts=Job.attempts - (1 if give_back_attempt else 0),
                next_attempt_at=db_now(delay),
                rung_at=db_now(delay),
                error_code=failure.code if failure else None,
                error_detail=failure.detail if failure else None,
            )
            .returning(Job.epoch)
        )
        rows = await self._returned(statement)
        return int(rows[0]) if rows else None

    async def held(self, leases: Iterable[Lease]) -> set[str]:
        """Which of these leases still hold, locked until the transaction ends: for batches of results."""
        query = select(Job.id).where(or_(*[_held(lease) for lease in leases])).with_for_update()
        return set(await self._session.scalars(query))

    # --- for the sweep: all tenants -------------------------------------------------------------------------

    async def take_back_lost(self, max_attempts: int, limit: int) -> Sequence[Job]:
        """Jobs whose worker is silent: back to the queue, or a dead letter when the attempts are used up."""
        lost = (
            select(Job.id)
            .where(Job.state == JobState.RUNNING, Job.lease_until <= db_now())
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        common = {"lease_owner": None, "lease_until": None}
        still_lost = (Job.id.in_(lost), Job.state == JobState.RUNNING, Job.lease_until <= db_now())
        exhausted = (
            update(Job)
            .where(*still_lost, Job.attempts >= max_attempts)
            .values(
                state=JobState.FAILED,
                finished_at=db_now(),
                error_code=AttemptsExhausted.code,
                error_detail="The worker that ran the last attempt disappeared.",
                **common,
            )
        )
        dead = await self._returned(exhausted.returning(Job))
        requeued = (
            update(Job)
            .where(*still_lost)
            .values(
                state=JobState.QUEUED,
                epoch=Job.epoch + 1,
                next_attempt_at=db_now(),
                rung_at=db_now(),
                **common,
            )
        )
        return [*dead, *await self._returned(requeued.returning(Job))]

    async def ring_again(self, silent_for: float, limit: int) -> Sequence[Job]:
        """Due jobs whose bell was rung more than `silent_for` seconds ago and that nobody took."""
        unheard = (
            select(Job.id)
            .where(
                Job.state == JobState.QUEUED,
                Job.next_attempt_at <= db_now(),
                Job.rung_at <= db_now(-silent_for),
            )
            .order_by(Job.next_attempt_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        statement = (
            update(Job)
            .where(Job.id.in_(unheard), Job.state == JobState.QUEUED)
            .values(epoch=Job.epoch + 1, rung_at=db_now())
            .returning(Job)
        )
        return await self._returned(statement)

    async def purge(self, retention: float, limit: int) -> int:
        """Remove rows of jobs that ended more than `retention` seconds ago."""
        ended = [str(state) for state in JOB_FINAL]
        chosen = select(Job.id).where(Job.state.in_(ended), Job.finished_at <= db_now(-retention)).limit(limit)
        return await self._changed(delete(Job).where(Job.id.in_(chosen)))

    async def oldest_queued(self) -> dict[str, datetime]:
        """Per kind, since when the oldest due job waits."""
        query = (
            select(Job.kind, func.min(Job.next_attempt_at))
            .where(Job.state == JobState.QUEUED, Job.next_attempt_at <= db_now())
            .group_by(Job.kind)
        )
        return dict((await self._session.execute(query)).tuples().all())
