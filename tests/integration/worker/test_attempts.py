"""Leases, fences and attempts: who may end a job, and how often it is tried."""

import asyncio
from typing import Any, cast

import pytest

from common.errors import StorageUnavailable
from common.states import JobKind, JobState, UploadState
from common.storage import Storage
from common.storage.base import SealedObject, SealPlan, SealWatch, UploadKey
from tests.integration.worker.rig import Rig, lease_of, new_file, until, with_settings

CONTENT = b"x" * 2500


class SlowStorage:
    """The real storage, but a seal waits for the test before or after it does its work."""

    def __init__(self, real: Storage, *, seal_first: bool = False) -> None:
        self._real, self._seal_first = real, seal_first
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def seal(self, upload: UploadKey, plan: SealPlan, watch: SealWatch) -> SealedObject:
        sealed = await self._real.seal(upload, plan, watch) if self._seal_first else None
        self.reached.set()
        await self.go_on.wait()
        return sealed or await self._real.seal(upload, plan, watch)


class BrokenStorage(SlowStorage):
    async def seal(self, upload: UploadKey, plan: SealPlan, watch: SealWatch) -> SealedObject:
        raise StorageUnavailable("The disk is away.")


def with_storage(rig: Rig, storage: SlowStorage, **worker: Any) -> Rig:
    """Another worker whose storage is this one."""
    settings = with_settings(rig.settings, **worker)
    return Rig(settings, rig.database, cast("Storage", storage), rig.redis)


async def test_a_zombie_cannot_publish(rig: Rig) -> None:
    """It sealed the file and lost its lease before the transaction; another worker has the job."""
    slow = SlowStorage(rig.storage, seal_first=True)
    zombie = with_storage(rig, slow)
    job = await rig.finalize(await rig.upload(CONTENT))
    attempt = asyncio.create_task(zombie.parts.runner.run_job({}, job.id, 0))
    await slow.reached.wait()
    await rig.shift(job.id, -1, "lease_until")
    await rig.parts.sweep.take_back_lost()
    assert await rig.parts.leases.claim([job.id])

    slow.go_on.set()
    await attempt

    held = await rig.job(job.id)
    assert (held.state, held.fence, held.lease_owner) == (JobState.RUNNING, 2, rig.parts.leases.owner)
    assert zombie.counted("lease_lost_total") == 1
    assert zombie.counted("jobs_total", kind="finalize", outcome="lease_lost") == 1
    assert await rig.jobs(JobKind.METADATA) == []


async def test_the_worker_that_took_a_lost_job_finishes_it(rig: Rig) -> None:
    slow = SlowStorage(rig.storage, seal_first=True)
    zombie = with_storage(rig, slow)
    upload = await rig.upload(CONTENT)
    job = await rig.finalize(upload)
    attempt = asyncio.create_task(zombie.parts.runner.run_job({}, job.id, 0))
    await slow.reached.wait()
    await rig.shift(job.id, -1, "lease_until")
    await rig.parts.sweep.take_back_lost()

    await rig.run()
    slow.go_on.set()
    await attempt

    assert (await rig.job(job.id)).state == JobState.SUCCEEDED
    assert (await rig.get_upload(upload.id)).state == UploadState.COMPLETE
    assert len(await rig.jobs()) == 2


async def test_a_lost_lease_stops_the_work(rig: Rig) -> None:
    slow = SlowStorage(rig.storage)
    worker = with_storage(rig, slow)
    job = await rig.finalize(await rig.upload(CONTENT))
    attempt = asyncio.create_task(worker.parts.runner.run_job({}, job.id, 0))
    await slow.reached.wait()
    await rig.shift(job.id, -1, "lease_until")
    await rig.parts.sweep.take_back_lost()

    await worker.parts.leases.beat()
    await asyncio.wait_for(attempt, 5)

    assert worker.counted("lease_lost_total") == 1
    assert (await rig.job(job.id)).state == JobState.QUEUED


async def test_a_heartbeat_keeps_the_sweep_away(rig: Rig) -> None:
    slow = SlowStorage(rig.storage)
    worker = with_storage(rig, slow)
    job = await rig.finalize(await rig.upload(CONTENT))
    attempt = asyncio.create_task(worker.parts.runner.run_job({}, job.id, 0))
    await slow.reached.wait()
    await rig.shift(job.id, -1, "lease_until")

    await worker.parts.leases.beat()
    await rig.parts.sweep.take_back_lost()
    slow.go_on.set()
    await attempt

    assert (await rig.job(job.id)).state == JobState.SUCCEEDED


async def test_a_failed_attempt_comes_back_later_with_its_reason(rig: Rig) -> None:
    worker = with_storage(rig, BrokenStorage(rig.storage))
    job = await rig.finalize(await rig.upload(CONTENT))

    await worker.parts.runner.run_job({}, job.id, 0)

    waiting = await rig.job(job.id)
    assert (waiting.state, waiting.attempts, waiting.epoch) == (JobState.QUEUED, 1, 1)
    assert (waiting.error_code, waiting.error_detail) == ("storage_unavailable", "The disk is away.")
    assert waiting.next_attempt_at > waiting.created_at
    assert await rig.redis.zscore("sluice:queue:finalize", f"{job.id}:1") is not None
    assert await worker.parts.leases.claim([job.id]) == []  # not due yet


async def test_an_attempt_after_the_fault_succeeds(rig: Rig) -> None:
    worker = with_storage(rig, BrokenStorage(rig.storage))
    job = await rig.finalize(await rig.upload(CONTENT))
    await worker.parts.runner.run_job({}, job.id, 0)
    await rig.shift(job.id, 0, "next_attempt_at")

    await rig.parts.runner.run_job({}, job.id, 1)

    ended = await rig.job(job.id)
    assert (ended.state, ended.attempts, ended.error_code) == (JobState.SUCCEEDED, 2, None)


async def test_used_up_attempts_make_a_dead_letter_and_keep_the_upload(rig: Rig) -> None:
    worker = with_storage(rig, BrokenStorage(rig.storage), max_attempts=2)
    upload = await rig.upload(CONTENT)
    job = await rig.finalize(upload)
    for attempt in range(2):
        await worker.parts.runner.run_job({}, job.id, attempt)
        await rig.shift(job.id, 0, "next_attempt_at")

    dead = await rig.job(job.id)
    assert (dead.state, dead.error_code) == (JobState.FAILED, "attempts_exhausted")
    assert dead.error_detail == "All 2 attempts failed; the last with storage_unavailable: The disk is away."
    assert (await rig.get_upload(upload.id)).state == UploadState.FINALIZING


async def test_an_attempt_that_takes_too_long_is_tried_again(rig: Rig) -> None:
    slow = SlowStorage(rig.storage)
    worker = with_storage(rig, slow, job_timeout=0.05, job_min_rate=10**9)
    job = await rig.finalize(await rig.upload(CONTENT))

    await worker.parts.runner.run_job({}, job.id, 0)

    late = await rig.job(job.id)
    assert (late.state, late.error_code) == (JobState.QUEUED, "job_timeout")


async def test_a_job_cut_short_by_shutdown_gets_its_attempt_back(rig: Rig) -> None:
    slow = SlowStorage(rig.storage)
    worker = with_storage(rig, slow)
    job = await rig.finalize(await rig.upload(CONTENT), ring=False)
    attempt = asyncio.create_task(worker.parts.runner.run_job({}, job.id, 0))
    await slow.reached.wait()

    worker.parts.runner.give_back()
    await attempt

    back = await rig.job(job.id)
    assert (back.state, back.attempts, back.error_code, back.epoch) == (JobState.QUEUED, 0, None, 1)
    assert await rig.redis.zscore("sluice:queue:finalize", f"{job.id}:1") is not None


async def test_draining_waits_for_the_running_job(rig: Rig) -> None:
    slow = SlowStorage(rig.storage)
    worker = with_storage(rig, slow)
    job = await rig.finalize(await rig.upload(CONTENT))
    attempt = asyncio.create_task(worker.parts.runner.run_job({}, job.id, 0))
    await slow.reached.wait()
    assert not await worker.parts.runner.drain(0.01)

    slow.go_on.set()

    assert await worker.parts.runner.drain(10)
    await attempt


async def test_an_error_of_the_wrapper_itself_never_reaches_arq(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(rig.parts.leases, "insist", broken)
    job = await rig.finalize(await rig.upload(CONTENT))

    await rig.run()

    assert (await rig.job(job.id)).state == JobState.RUNNING  # the lease runs out, the sweep takes it back


async def test_a_file_that_is_there_already_is_not_made_twice(rig: Rig) -> None:
    """Not reachable through the fence; if it ever is, there is still one file."""
    slow = SlowStorage(rig.storage, seal_first=True)
    worker = with_storage(rig, slow)
    upload = await rig.upload(CONTENT)
    job = await rig.finalize(upload)
    attempt = asyncio.create_task(worker.parts.runner.run_job({}, job.id, 0))
    await slow.reached.wait()
    async with rig.database.transaction() as repository:
        await repository.files.insert(new_file(upload, job.file_id or ""))
        await repository.uploads.move(
            upload.tenant, upload.id, UploadState.FINALIZING, UploadState.COMPLETE, file_id=job.file_id
        )

    slow.go_on.set()
    await attempt

    ended = await rig.job(job.id)
    assert (ended.state, ended.file_id) == (JobState.SUCCEEDED, job.file_id)


async def test_a_job_is_ended_by_the_holder_of_its_fence_only(rig: Rig) -> None:
    job = await rig.finalize(await rig.upload(CONTENT))
    (first,) = await rig.parts.leases.claim([job.id])
    running = await rig.job(job.id)
    await rig.shift(job.id, -1, "lease_until")
    await rig.parts.sweep.take_back_lost()
    await rig.parts.leases.claim([job.id])

    async with rig.database.transaction() as repository:
        assert not await repository.jobs.succeed(lease_of(running))
        assert await repository.jobs.requeue(first.lease, 0, None) is None


async def test_the_poll_loop_leaves_a_ring_in_the_queue_while_it_stops(rig: Rig) -> None:
    job = await rig.finalize(await rig.upload(CONTENT))
    rig.parts.runner.stop()
    loop = rig.parts.loops[0]
    polling = asyncio.create_task(loop.async_run())
    await until(lambda: _retried(loop.jobs_retried))
    polling.cancel()
    await asyncio.wait([polling])

    assert await rig.redis.zscore("sluice:queue:finalize", f"{job.id}:0") is not None
    await rig.second().run()
    assert (await rig.job(job.id)).state == JobState.SUCCEEDED


async def _retried(count: int) -> bool:
    return count > 0
