"""Jobs whose workers disappeared again and again: one at a time, so that they cost no other job its attempts."""

import asyncio

import pytest
from sqlalchemy import update

from common.db.models import Job
from common.states import JobState
from tests.integration.worker.rig import Rig
from tests.integration.worker.test_attempts import SlowStorage, with_storage

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

CONTENT = b"s" * 1500


async def finalized(rig: Rig, **columns: object) -> Job:
    job = await rig.finalize(await rig.upload(CONTENT), ring=False)
    async with rig.database.transaction() as repository:
        await repository.session.execute(update(Job).where(Job.id == job.id).values(**columns))
    return await rig.job(job.id)


async def test_a_second_suspect_waits_and_loses_no_attempt(rig: Rig) -> None:
    slow = SlowStorage(rig.storage)
    worker = with_storage(rig, slow)
    first, second = await finalized(rig, attempts=2), await finalized(rig, attempts=2)
    running = asyncio.create_task(worker.parts.runner.run_job({}, first.id, 0))
    await slow.reached.wait()

    await worker.parts.runner.run_job({}, second.id, 0)

    waiting = await rig.job(second.id)
    assert (waiting.state, waiting.attempts, waiting.epoch) == (JobState.QUEUED, 2, 1)
    assert await rig.redis.zscore("sluice:queue:finalize", f"{second.id}:1") is not None  # it is rung again soon
    slow.go_on.set()
    await running
    await rig.shift(second.id, 0, "next_attempt_at")
    await worker.parts.runner.run_job({}, second.id, 1)
    assert {(await rig.job(job.id)).state for job in (first, second)} == {JobState.SUCCEEDED}


@pytest.mark.parametrize("columns", [{"attempts": 1}, {"attempts": 5, "error_code": "storage_unavailable"}])
async def test_jobs_that_said_how_they_failed_or_failed_once_run_beside_a_suspect(
    rig: Rig, columns: dict[str, object]
) -> None:
    slow = SlowStorage(rig.storage)
    worker = with_storage(rig, slow)
    suspect, other = await finalized(rig, attempts=2), await finalized(rig, **columns)
    running = asyncio.create_task(worker.parts.runner.run_job({}, suspect.id, 0))
    await slow.reached.wait()
    slow.go_on.set()
    await asyncio.gather(running, worker.parts.runner.run_job({}, other.id, 0))
    assert {(await rig.job(job.id)).state for job in (suspect, other)} == {JobState.SUCCEEDED}


async def test_a_job_taken_back_from_a_dead_worker_shows_no_older_error(rig: Rig) -> None:
    job = await finalized(rig, error_code="storage_unavailable", error_detail="The disk is away.")
    assert await rig.parts.leases.claim([job.id])
    await rig.shift(job.id, -1, "lease_until")
    await rig.parts.sweep.take_back_lost()
    back = await rig.job(job.id)
    assert (back.state, back.error_code, back.error_detail) == (JobState.QUEUED, None, None)
