"""The statements that serve the sweep."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from common.db.database import Database
from common.states import JobKind, JobState, UploadState
from tests.contract.database.rows import LATE, claimed, job_of, put, queued
from tests.integration.worker.rig import TENANT, new_job, new_upload


async def test_lost_jobs_are_requeued_or_become_dead_letters(database: Database) -> None:
    lost = {"state": JobState.RUNNING, "lease_owner": "gone", "lease_until": LATE}
    again = await queued(database, **lost, attempts=1, fence=1)
    dead = await queued(database, **lost, attempts=3, fence=3)
    alive, _ = await claimed(database)
    async with database.transaction() as repository:
        taken = await repository.jobs.take_back_lost(3, 100)
    assert {(job.id, job.state, job.epoch) for job in taken} == {
        (again.id, JobState.QUEUED, 1),
        (dead.id, JobState.FAILED, 0),
    }
    assert (await job_of(database, dead.id)).error_code == "attempts_exhausted"
    assert (await job_of(database, alive.id)).state == JobState.RUNNING


async def test_two_sweeps_take_back_a_job_once(database: Database) -> None:
    lost = await queued(database, state=JobState.RUNNING, lease_owner="gone", lease_until=LATE, attempts=1)

    async def sweep() -> list[str]:
        async with database.transaction() as repository:
            return [job.id for job in await repository.jobs.take_back_lost(3, 100)]

    taken = await asyncio.gather(*(sweep() for _ in range(4)))

    assert sorted(taken) == [[], [], [], [lost.id]]


async def test_unheard_jobs_are_the_due_ones_with_an_old_ring_oldest_first(database: Database) -> None:
    younger = await queued(database, rung_at=LATE, next_attempt_at=LATE + timedelta(seconds=1))
    oldest = await queued(database, rung_at=LATE, next_attempt_at=LATE)
    await queued(database, rung_at=LATE, next_attempt_at=datetime.now(UTC) + timedelta(seconds=60))
    await queued(database, next_attempt_at=LATE)
    await claimed(database, rung_at=LATE)
    async with database.reading() as repository:
        assert [job.id for job in await repository.jobs.unheard(JobKind.FINALIZE, 5, 10)] == [oldest.id, younger.id]
        assert [job.id for job in await repository.jobs.unheard(JobKind.FINALIZE, 5, 1)] == [oldest.id]


async def test_a_job_is_rung_again_once(database: Database) -> None:
    job = await queued(database, rung_at=LATE)
    async with database.transaction() as repository:
        [moved] = await repository.jobs.ring_again([job.id], 5)
        assert await repository.jobs.ring_again([job.id], 5) == []
    assert moved.epoch == 1


async def test_a_bell_that_hangs_is_looked_at_later(database: Database) -> None:
    job = await queued(database, rung_at=LATE)
    async with database.transaction() as repository:
        await repository.jobs.still_hangs([job.id])
        assert await repository.jobs.unheard(JobKind.FINALIZE, 5, 10) == []
    assert (await job_of(database, job.id)).epoch == 0


async def test_the_oldest_due_job_of_each_kind_is_known(database: Database) -> None:
    await queued(database, next_attempt_at=LATE)
    await queued(database, next_attempt_at=LATE + timedelta(seconds=10))
    await queued(database, next_attempt_at=LATE + timedelta(seconds=20), kind=JobKind.METADATA)
    async with database.reading() as repository:
        found = await repository.jobs.oldest_queued()
    assert found == {"finalize": LATE, "metadata": LATE + timedelta(seconds=20)}


async def test_unfinished_jobs_are_counted_by_kind_and_state(database: Database) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    await queued(database, next_attempt_at=LATE, created_at=LATE)
    await queued(database, next_attempt_at=LATE + timedelta(seconds=10))
    await queued(database, next_attempt_at=soon, created_at=LATE - timedelta(seconds=5))
    await queued(database, state=JobState.RUNNING, created_at=LATE, next_attempt_at=LATE)
    await queued(database, state=JobState.FAILED)
    await queued(database, next_attempt_at=soon, created_at=LATE, kind=JobKind.METADATA)
    async with database.reading() as repository:
        found = await repository.backlog.jobs()
    assert {(each.kind, each.state): (each.jobs, each.due, each.accepted_at) for each in found} == {
        ("finalize", "queued"): (3, 2, LATE - timedelta(seconds=5)),
        ("finalize", "running"): (1, 1, LATE),
        ("metadata", "queued"): (1, 0, LATE),
    }


async def test_unfinished_uploads_are_counted(database: Database) -> None:
    async with database.transaction() as repository:
        for state in (UploadState.OPEN, UploadState.OPEN, UploadState.COMPLETE):
            await repository.uploads.insert(new_upload(1, state=state))
    async with database.reading() as repository:
        assert await repository.backlog.uploads() == {"open": 2, "finalizing": 0}


async def test_only_ended_jobs_past_their_retention_are_purged(database: Database) -> None:
    old = await queued(database, state=JobState.SUCCEEDED, finished_at=LATE)
    fresh = await queued(database, state=JobState.FAILED, finished_at=datetime.now(UTC))
    waiting = await queued(database)
    async with database.transaction() as repository:
        assert await repository.jobs.purge(30, 100) == 1
    async with database.reading() as repository:
        left = {
            job.id for job in (await repository.jobs.page(TENANT, state=None, kind=None, cursor=None, limit=9)).items
        }
    assert left == {fresh.id, waiting.id} != {old.id}


async def test_one_job_of_a_kind_for_each_round_of_an_upload(database: Database) -> None:
    upload = new_upload(1)
    await put(database, new_job(upload), new_job(upload, JobKind.METADATA), new_job(upload, round=1))
    with pytest.raises(IntegrityError):
        await put(database, new_job(upload))
