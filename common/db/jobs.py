"""Statements on jobs: claim, renew, finish, requeue, and what the sweep looks for.

Only the holder of the lease may finish a job: every statement of a worker compares state, owner and fence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, and_, bindparam, delete, func, null, select, tuple_, union_all, update
from sqlalchemy.sql.dml import ReturningUpdate

from common.db.clock import db_now, statement_time
from common.db.models import Job
from common.db.paging import Cursor, Page, newest_first
from common.db.statements import Key, Statements, by_keys, keyed, unindexed
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


_DUE = (Job.state == JobState.QUEUED, Job.next_attempt_at <= statement_time())
_LET_GO = {"lease_owner": None, "lease_until": None}
# JSON columns write a plain None as the JSON value null; null() is the absence that the reader expects
_NO_ERROR = {"error_code": None, "error_detail": None, "error_extras": null()}


def _shown(failure: JobFailure) -> dict[str, Any]:
    extras = null() if failure.extras is None else failure.extras
    return {"error_code": failure.code, "error_detail": failure.detail, "error_extras": extras}


def _unheard(silent_for: float) -> tuple[ColumnElement[bool], ...]:
    return (
        Job.state == JobState.QUEUED,
        Job.next_attempt_at <= statement_time(),
        Job.rung_at <= statement_time(-silent_for),
    )


def _held(lease: Lease) -> ColumnElement[bool]:
    return and_(
        Job.id == lease.job_id,
        Job.state == JobState.RUNNING,
        Job.lease_owner == lease.owner,
        Job.fence == lease.fence,
    )


# in the order of the ids, past what another worker is claiming at this moment
_WANTED = (
    select(Job.id)
    .where(Job.id.in_(bindparam("ids", expanding=True)), *_DUE)
    .order_by(Job.id)
    .with_for_update(skip_locked=True)
)
_CLAIM = (
    update(Job)
    .where(Job.id.in_(_WANTED), *_DUE)
    .values(
        state=JobState.RUNNING,
        lease_owner=bindparam("owner"),
        lease_until=db_now(bindparam("seconds", type_=Float())),
        fence=Job.fence + 1,
        attempts=Job.attempts + 1,
        started_at=func.coalesce(Job.started_at, db_now()),
    )
    .returning(Job)
)
_LEASES = and_(
    tuple_(Job.id, Job.fence).in_(bindparam("held", expanding=True)),
    Job.state == JobState.RUNNING,
    Job.lease_owner == bindparam("owner"),
)


def _succeeding(held: ColumnElement[bool]) -> ReturningUpdate[str]:
    statement = update(Job).where(Job.id.in_(bindparam("ids", expanding=True)), held)  # ids: for the primary key
    return statement.values(state=JobState.SUCCEEDED, finished_at=db_now(), **_LET_GO, **_NO_ERROR).returning(Job.id)


_SUCCEED = _succeeding(_LEASES)


class Jobs(Statements):
    """Methods with a tenant serve callers; the others serve the worker that runs a job, or the sweep."""

    async def insert(self, job: Job) -> None:
        self._session.add(job)
        await self._session.flush()

    async def insert_all(self, jobs: Sequence[Job]) -> None:
        """Jobs that were made alike, in one statement."""
        await self._insert_all(jobs)

    async def get(self, tenant: str, job_id: str) -> Job | None:
        found: Job | None = await self._session.scalar(select(Job).where(Job.tenant == tenant, Job.id == job_id))
        return found

    async def get_all(self, keys: Sequence[Key]) -> dict[Key, Job]:
        """Jobs by (tenant, id); those that are not there are left out."""
        rows = await self._session.scalars(by_keys(Job), keyed(keys))
        return {(row.tenant, row.id): row for row in rows}

    async def page(
        self, tenant: str, cursor: str | None, limit: int, *, state: JobState | None, kind: JobKind | None
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

    async def redrive(self, tenant: str, job_id: str) -> Job | None:
        """failed -> queued for a dead letter, with all its attempts again; None when it is none."""
        statement = (
            update(Job)
            .where(
                Job.tenant == tenant,
                Job.id == job_id,
                Job.state == JobState.FAILED,
                Job.error_code == AttemptsExhausted.code,
            )
            .values(
                state=JobState.QUEUED,
                attempts=0,
                epoch=Job.epoch + 1,
                next_attempt_at=db_now(),
                rung_at=db_now(),
                finished_at=None,
                **_NO_ERROR,
            )
            .returning(Job)
        )
        rows = await self._returned(statement)
        return rows[0] if rows else None

    async def final_states(self, job_ids: Iterable[str]) -> set[str]:
        """Which of these jobs have ended. One statement for any number of waiting clients."""
        query = select(Job.id).where(Job.id.in_(list(job_ids)), Job.state.in_([str(state) for state in JOB_FINAL]))
        return set(await self._session.scalars(query))

    # --- for the worker that runs the job -------------------------------------------------------------------

    async def claim(self, job_ids: Sequence[str], owner: str, lease_seconds: float) -> Sequence[Job]:
        """queued -> running for this owner. Left out is what somebody else has, is not due, or has ended."""
        values = {"ids": list(job_ids), "owner": owner, "seconds": lease_seconds}
        return await self._returned(_CLAIM, values)

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
        shown = _shown(failure) if failure else _NO_ERROR
        statement = update(Job).where(_held(lease))
        statement = statement.values(state=state, finished_at=db_now(), **_LET_GO, **shown, **values)
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
                epoch=Job.epoch + 1,
                attempts=Job.attempts - (1 if give_back_attempt else 0),
                next_attempt_at=db_now(delay),
                rung_at=db_now(delay),
                **_LET_GO,
                **(_shown(failure) if failure else _NO_ERROR),
            )
            .returning(Job.epoch)
        )
        rows = await self._returned(statement)
        return int(rows[0]) if rows else None

    async def succeed_all(self, leases: Sequence[Lease]) -> set[str]:
        """running -> succeeded for many jobs of one owner in one statement; the ids of those that were still held."""
        if not leases:
            return set()
        ids = [lease.job_id for lease in leases]
        held = [(lease.job_id, lease.fence) for lease in leases]
        return set(await self._returned(_SUCCEED, {"ids": ids, "held": held, "owner": leases[0].owner}))

    async def withdraw(self, job_ids: Sequence[str]) -> set[str]:
        """Remove jobs that nobody has begun, and that nobody was told of; the ids of those."""
        statement = delete(Job).where(Job.id.in_(job_ids), Job.state == JobState.QUEUED, Job.attempts == 0)
        return set(await self._session.scalars(statement.returning(Job.id)))

    # --- for the sweep: all tenants -------------------------------------------------------------------------

    async def take_back_lost(self, max_attempts: int, limit: int) -> Sequence[Job]:
        """Jobs whose worker is silent: back to the queue, or a dead letter when the attempts are used up."""
        lost = (
            select(Job.id)
            .where(Job.state == JobState.RUNNING, Job.lease_until <= statement_time())
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        still_lost = (Job.id.in_(lost), Job.state == JobState.RUNNING, Job.lease_until <= statement_time())
        exhausted = (
            update(Job)
            .where(*still_lost, Job.attempts >= max_attempts)
            .values(
                state=JobState.FAILED,
                finished_at=db_now(),
                error_code=AttemptsExhausted.code,
                error_detail="The worker that ran the last attempt disappeared.",
                **_LET_GO,
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
                **_LET_GO,
                **_NO_ERROR,  # of an attempt before: the one that was lost said nothing
            )
        )
        return [*dead, *await self._returned(requeued.returning(Job))]

    async def unheard(self, kind: JobKind, silent_for: float, limit: int) -> Sequence[Job]:
        """Due jobs whose bell was rung more than `silent_for` seconds ago and that nobody took, oldest first."""
        query = select(Job).where(Job.kind == kind, *_unheard(silent_for)).order_by(Job.next_attempt_at).limit(limit)
        return (await self._session.scalars(query)).all()

    async def ring_again(self, job_ids: Iterable[str], silent_for: float) -> Sequence[Job]:
        """A new epoch for those that are still unheard: whoever moves it rings."""
        statement = update(Job).where(Job.id.in_(list(job_ids)), *_unheard(silent_for))
        return await self._returned(statement.values(epoch=Job.epoch + 1, rung_at=db_now()).returning(Job))

    async def still_hangs(self, job_ids: Iterable[str]) -> None:
        """The bells of these waiting jobs were seen in the queue: look at them again later, not next time."""
        statement = update(Job).where(Job.id.in_(list(job_ids)), Job.state == JobState.QUEUED)
        await self._changed(statement.values(rung_at=db_now()))

    async def remove_round(self, upload_id: str, kind: JobKind, round_number: int) -> None:
        """Make place for another job of this kind and round."""
        same = (Job.upload_id == upload_id, Job.kind == kind, Job.round == round_number)
        await self._changed(delete(Job).where(*same))

    async def purge(self, retention: float, limit: int) -> int:
        """Remove rows of jobs that ended more than `retention` seconds ago."""
        ended = unindexed(Job.state).in_([str(state) for state in JOB_FINAL])
        chosen = select(Job.id).where(ended, Job.finished_at <= statement_time(-retention)).limit(limit)
        return await self._changed(delete(Job).where(Job.id.in_(chosen)))

    async def oldest_queued(self) -> dict[str, datetime]:
        """Per kind, since when the oldest due job waits."""
        waiting = (Job.state == JobState.QUEUED, Job.next_attempt_at <= statement_time())
        # one probe of the index for each kind, however many wait
        first = [
            select(Job.kind, Job.next_attempt_at.label("since"))
            .where(Job.kind == kind, *waiting)
            .order_by(Job.next_attempt_at)
            .limit(1)
            .subquery()
            for kind in JobKind
        ]
        query = union_all(*(select(one.c.kind, one.c.since) for one in first))
        return {row.kind: row.since for row in await self._session.execute(query)}
