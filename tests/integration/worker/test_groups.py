"""Small jobs share a ring, and nothing else: not their failures, not the places of large ones."""

import asyncio
import itertools

import pytest
from sqlalchemy import update

from common.db.models import Job
from common.queue import GROUP_BYTES, Ring, ring_of, share_bell
from common.states import FileState, JobKind, JobState, UploadState
from common.storage.base import UploadKey
from tests.integration.worker.rig import TENANT, Rig, new_job, new_upload

CONTENT = b"small" * 100


async def grouped(rig: Rig, count: int) -> list[str]:
    """So many finalize jobs that wait behind one ring; their ids."""
    jobs = [await rig.finalize(await rig.upload(CONTENT), ring=False) for _ in range(count)]
    share_bell(jobs)
    async with rig.database.transaction() as repository:
        for job in jobs:
            await repository.session.merge(job)
    await rig.context.bell.ring(*map(ring_of, jobs))
    return [job.id for job in jobs]


async def queued_bells(rig: Rig, kind: JobKind = JobKind.FINALIZE) -> list[bytes]:
    names: list[bytes] = await rig.redis.zrange(f"sluice:queue:{kind}", 0, -1)
    return names


async def test_jobs_of_one_ring_all_end(rig: Rig) -> None:
    job_ids = await grouped(rig, 5)
    assert len(await queued_bells(rig)) == 1

    await rig.run()

    ended = [await rig.job(job_id) for job_id in job_ids]
    assert [job.state for job in ended] == [JobState.SUCCEEDED] * 5
    for job in ended:
        file = await rig.file(job.file_id or "")
        assert (file.state, file.size) == (FileState.READY, len(CONTENT))
        assert file.attributes is not None
        upload = await rig.get_upload(job.upload_id)
        assert (upload.state, upload.cleaned) == (UploadState.COMPLETE, True)


async def test_one_that_fails_costs_the_others_nothing(rig: Rig) -> None:
    job_ids = await grouped(rig, 4)
    broken = await rig.job(job_ids[1])
    await rig.storage.abort(UploadKey(TENANT, broken.upload_id))

    await rig.run()

    states = [(await rig.job(job_id)).state for job_id in job_ids]
    assert states == [JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED, JobState.SUCCEEDED]


async def test_one_whose_upload_was_given_up_costs_the_others_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_ids = await grouped(rig, 3)
    lost = await rig.job(job_ids[2])
    seal = rig.storage.seal

    async def give_up_first(key: UploadKey, *rest: object) -> object:
        if key.upload_id == lost.upload_id:
            async with rig.database.transaction() as repository:
                await repository.uploads.move(TENANT, key.upload_id, UploadState.FINALIZING, UploadState.FAILED)
        return await seal(key, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.storage, "seal", give_up_first)

    await rig.run()

    assert [(await rig.job(job_id)).state for job_id in job_ids[:2]] == [JobState.SUCCEEDED] * 2
    assert (await rig.job(lost.id)).error_code == "upload_gone"
    assert await rig.jobs(JobKind.METADATA)
    assert lost.id not in {job.upload_id for job in await rig.jobs(JobKind.METADATA)}


async def test_a_ring_whose_jobs_are_taken_is_passed_over(rig: Rig) -> None:
    job_ids = await grouped(rig, 2)
    assert len(await rig.second().parts.leases.claim(job_ids)) == 2
    await rig.run()
    assert [(await rig.job(job_id)).attempts for job_id in job_ids] == [1, 1]


async def test_a_job_whose_group_hangs_is_not_rung_again(rig: Rig) -> None:
    job_ids = await grouped(rig, 3)
    for job_id in job_ids:
        await rig.shift(job_id, -60, "rung_at")
    await rig.parts.sweep.ring_again()
    assert len(await queued_bells(rig)) == 1
    assert [(await rig.job(job_id)).epoch for job_id in job_ids] == [0, 0, 0]


async def test_jobs_whose_group_was_lost_are_rung_one_by_one(rig: Rig) -> None:
    job_ids = await grouped(rig, 3)
    await rig.redis.flushall()
    for job_id in job_ids:
        await rig.shift(job_id, -60, "rung_at")
    await rig.parts.sweep.ring_again()
    assert sorted(await queued_bells(rig)) == sorted(f"{job_id}:1".encode() for job_id in job_ids)
    await rig.run()
    assert [(await rig.job(job_id)).state for job_id in job_ids] == [JobState.SUCCEEDED] * 3


async def test_what_a_killed_worker_left_of_a_group_makes_room(rig: Rig) -> None:
    (job_id, _) = await grouped(rig, 2)
    job = await rig.job(job_id)
    await rig.context.bell.ring(Ring(job.id, JobKind.FINALIZE, 1, group=job.bell))
    assert await queued_bells(rig) == [f"{job_id}:1".encode()]


def test_large_jobs_and_lonely_ones_have_rings_of_their_own() -> None:
    large, small, lonely = (new_job(new_upload(size)) for size in (GROUP_BYTES + 1, GROUP_BYTES, 1))
    share_bell([large, small])
    assert (large.bell, small.bell) == (None, None)
    share_bell([large, small, lonely])
    assert large.bell is None
    assert small.bell is not None
    assert small.bell == lonely.bell
    assert ring_of(small).name == ring_of(lonely).name


async def test_many_rings_take_one_budget(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    bell = rig.context.bell
    enqueue = bell._enqueue

    async def slow(group: list[Ring]) -> None:
        await asyncio.sleep(0.4)
        await enqueue(group)

    monkeypatch.setattr(bell, "_enqueue", slow)
    began = asyncio.get_running_loop().time()
    assert not await bell.ring(*(Ring(f"job-{number}", JobKind.FINALIZE, 0) for number in range(32)))
    assert asyncio.get_running_loop().time() - began < 1.4  # not 32 times 0.4 s
    assert await queued_bells(rig)  # some were heard


async def test_a_line_of_suspects_is_put_off_one_after_the_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.suspects.SPACING", 10.0)  # far more than a busy machine takes for a statement
    job_ids = await grouped(rig, 6)
    for job_id in job_ids:
        async with rig.database.transaction() as repository:
            await repository.session.execute(update(Job).where(Job.id == job_id).values(attempts=3))
    await rig.parts.runner.run_jobs({}, job_ids)
    jobs = [await rig.job(job_id) for job_id in job_ids]
    waiting = sorted(job.next_attempt_at for job in jobs if job.state == JobState.QUEUED)
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(waiting)]
    assert len(waiting) == 5
    assert min(gaps) > 4
    assert {job.attempts for job in jobs if job.state == JobState.QUEUED} == {3}
