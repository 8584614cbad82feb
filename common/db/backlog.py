"""What is not finished yet, counted: for metrics, over all tenants. Only reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from common.db.clock import db_now
from common.db.models import Job, Upload
from common.db.statements import Statements
from common.states import JobState, UploadState

_UNFINISHED_JOBS = (JobState.QUEUED, JobState.RUNNING)
_UNFINISHED_UPLOADS = (UploadState.OPEN, UploadState.FINALIZING)


@dataclass(frozen=True, slots=True)
class UnfinishedJobs:
    """Jobs of one kind that are `queued` or `running`. `due` of them are due by the clock of the database; the oldest
    of all was accepted at `accepted_at`."""

    kind: str
    state: str
    jobs: int
    due: int
    accepted_at: datetime


class Backlog(Statements):
    """One statement for each table. It costs as much as there is unfinished, however many rows have ended."""

    async def jobs(self) -> Sequence[UnfinishedJobs]:
        due = Job.next_attempt_at <= db_now()
        query = (
            select(
                Job.kind,
                Job.state,
                func.count(Job.id),
                func.count(Job.id).filter(due),
                func.min(Job.created_at),
            )
            .where(Job.state.in_([str(state) for state in _UNFINISHED_JOBS]))
            .group_by(Job.kind, Job.state)
        )
        return [UnfinishedJobs(*row) for row in await self._session.execute(query)]

    async def uploads(self) -> dict[str, int]:
        """How many uploads are open and how many are being finalized."""
        names = [str(state) for state in _UNFINISHED_UPLOADS]
        query = select(Upload.state, func.count(Upload.id)).where(Upload.state.in_(names)).group_by(Upload.state)
        counted = {state: int(count) for state, count in await self._session.execute(query)}
        return {name: counted.get(name, 0) for name in names}
