"""The statements on jobs that serve a worker: claim, fence, end."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from common.db.database import Database
from common.db.jobs import JobFailure, Lease
from common.db.models import Job
from common.ids import new_id
from common.states import JobState
from tests.contract.database.rows import claimed, job_of, queued


async def test_a_claim_gives_a_lease_a_fence_and_counts_the_attempt(database: Database) -> None:
    taken, lease = await claimed(database)
    assert (taken.state, taken.attempts, taken.fence, taken.lease_owner) == (JobState.RUNNING, 1, 1, "me")
    assert lease == Lease(taken.id, "me", 1)
    assert taken.lease_until is not None
    assert taken.started_at is not None
    assert timedelta(seconds=14) < taken.lease_until - taken.started_at < timedelta(seconds=16)


async def test_of_many_claims_at_once_one_wins(database: Database) -> None:
    job = await queued(database)

    async def claim(owner: str) -> Sequence[Job]:
        async with database.transaction() as repository:
            return await repository.jobs.claim([job.id], owner, 15)

    taken = await asyncio.gather(*(claim(f"worker-{number}") for number in range(10)))

    [winner] = [job for found in taken for job in found]
    assert (winner.attempts, winner.fence) == (1, 1)


async def test_a_job_that_is_not_due_cannot_be_claimed(database: Database) -> None:
    job = await queued(database, next_attempt_at=datetime.now(UTC) + timedelta(seconds=60))
    async with database.transaction() as repository:
        assert await repository.jobs.claim([job.id], "me", 15) == []


@pytest.mark.parametrize("lease", [("other", 1), ("me", 2), ("me", 0)])
async def test_only_owner_and_fence_together_end_a_job(database: Database, lease: tuple[str, int]) -> None:
    job, _ = await claimed(database)
    wrong = Lease(job.id, *lease)
    async with database.transaction() as repository:
        assert not await repository.jobs.succeed(wrong)
        assert not await repository.jobs.fail(wrong, JobFailure("x", "y"))
        assert await repository.jobs.requeue(wrong, 0, None) is None
        assert await repository.jobs.succeed_all([wrong]) == set()
    assert (await job_of(database, job.id)).state == JobState.RUNNING


async def test_success_lets_go_of_the_lease(database: Database) -> None:
    job, lease = await claimed(database)
    async with database.transaction() as repository:
        assert await repository.jobs.succeed(lease, file_id="f")
        assert not await repository.jobs.succeed(lease)  # once
    ended = await job_of(database, job.id)
    assert (ended.state, ended.lease_owner, ended.lease_until, ended.file_id) == (JobState.SUCCEEDED, None, None, "f")
    assert ended.finished_at is not None


async def test_a_failure_is_shown_with_its_extras(database: Database) -> None:
    job, lease = await claimed(database)
    async with database.transaction() as repository:
        assert await repository.jobs.fail(lease, JobFailure("chunks_damaged", "Send 3.", {"chunks": [3]}))
    failed = await job_of(database, job.id)
    assert (failed.state, failed.error_code, failed.error_detail) == (JobState.FAILED, "chunks_damaged", "Send 3.")
    assert failed.error_extras == {"chunks": [3]}


async def test_a_retry_waits_and_has_a_new_epoch(database: Database) -> None:
    job, lease = await claimed(database)
    async with database.transaction() as repository:
        assert await repository.jobs.requeue(lease, 30, JobFailure("storage_unavailable", "Away.")) == 1
        assert await repository.jobs.claim([job.id], "other", 15) == []
    waiting = await job_of(database, job.id)
    assert (waiting.state, waiting.attempts, waiting.error_code) == (JobState.QUEUED, 1, "storage_unavailable")


async def test_an_attempt_may_be_given_back(database: Database) -> None:
    job, lease = await claimed(database)
    async with database.transaction() as repository:
        await repository.jobs.requeue(lease, 0, None, give_back_attempt=True)
    assert (await job_of(database, job.id)).attempts == 0


async def test_many_jobs_of_one_owner_end_in_one_statement(database: Database) -> None:
    held = [await claimed(database) for _ in range(5)]
    lost, _ = held[2]
    stale = Lease(lost.id, "me", 0)
    leases = [lease for _, lease in held[:2]] + [stale] + [lease for _, lease in held[3:]]
    async with database.transaction() as repository:
        ended = await repository.jobs.succeed_all(leases)
        assert await repository.jobs.succeed_all([]) == set()
    assert ended == {job.id for job, _ in held} - {lost.id}
    assert (await job_of(database, lost.id)).state == JobState.RUNNING


async def test_a_batch_of_the_largest_size_is_taken(database: Database) -> None:
    leases = [Lease(new_id(), "me", 1) for _ in range(1000)]
    async with database.transaction() as repository:
        assert await repository.jobs.succeed_all(leases) == set()


async def test_a_heartbeat_renews_what_is_held_and_names_it(database: Database) -> None:
    (first, _), (second, _) = await claimed(database), await claimed(database)
    third = await queued(database)
    async with database.transaction() as repository:
        kept = await repository.jobs.renew("me", [first.id, second.id, third.id], 500)
        assert await repository.jobs.renew("other", [first.id], 500) == set()
    assert kept == {first.id, second.id}
    renewed = await job_of(database, first.id)
    assert renewed.lease_until is not None
    assert first.lease_until is not None
    assert renewed.lease_until - first.lease_until > timedelta(seconds=400)


async def test_final_states_are_asked_for_many_at_once(database: Database) -> None:
    running, lease = await claimed(database)
    waiting = await queued(database)
    async with database.transaction() as repository:
        await repository.jobs.succeed(lease)
    async with database.reading() as repository:
        assert await repository.jobs.final_states([running.id, waiting.id, "no-such"]) == {running.id}
