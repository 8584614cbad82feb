"""What is measured for the whole service: how much waits, how old it is, how much room is left.

A gauge that nobody renews tells of a past that may be over. So every worker measures what is cheap, whoever sweeps; and
who has counted forgets it when others sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from common.db.backlog import UnfinishedJobs
from common.states import JobKind, JobState
from common.storage.base import HasRoom
from worker.context import WorkerContext


async def measure(context: WorkerContext) -> None:
    """How long the oldest due job of each kind has been waiting, and the room. Raises DatabaseUnavailable,
    StorageUnavailable."""
    async with context.database.reading() as repository:
        oldest = await repository.jobs.oldest_queued()
    for kind in JobKind:
        context.metrics.oldest_queued_seconds.labels(kind=kind).set(_age([oldest[kind]] if kind in oldest else []))
    if isinstance(context.storage, HasRoom):
        context.metrics.storage_free_bytes.labels(backend="local").set(await context.storage.free_bytes())


async def count_backlog(context: WorkerContext) -> None:
    """What is not finished. Raises DatabaseUnavailable."""
    async with context.database.reading() as repository:
        jobs = await repository.backlog.jobs()
        uploads = await repository.backlog.uploads()
    for kind in JobKind:
        _show_jobs(context, kind, [group for group in jobs if group.kind == kind])
    for state, count in uploads.items():
        context.metrics.uploads_unfinished.labels(state=state).set(count)


def forget_counts(context: WorkerContext) -> None:
    """Show no counts any more: another worker has newer ones."""
    metrics = context.metrics
    for gauge in (metrics.jobs_queued, metrics.oldest_unfinished_seconds, metrics.uploads_unfinished):
        gauge.clear()


def _show_jobs(context: WorkerContext, kind: JobKind, groups: Sequence[UnfinishedJobs]) -> None:
    metrics = context.metrics
    waiting = [group for group in groups if group.state == JobState.QUEUED]
    due = sum(group.due for group in waiting)
    metrics.jobs_queued.labels(kind=kind, due="now").set(due)
    metrics.jobs_queued.labels(kind=kind, due="later").set(sum(group.jobs for group in waiting) - due)
    metrics.oldest_unfinished_seconds.labels(kind=kind).set(_age([group.accepted_at for group in groups]))


def _age(since: Sequence[datetime]) -> float:
    """Seconds since the first of these; 0 for none."""
    return max(0.0, (datetime.now(UTC) - min(since)).total_seconds()) if since else 0.0
