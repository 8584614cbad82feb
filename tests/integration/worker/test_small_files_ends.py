"""What interrupts small files that run together: lost leases, draining, crashes, a database that is away."""

import asyncio
from collections.abc import Sequence

import pytest
from arq.worker import RetryJob
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from common.db.models import File, Job
from common.errors import DatabaseUnavailable
from common.states import JobKind, JobState, UploadState
from common.storage.base import ObjectKey
from tests.integration.worker.rig import TENANT, Rig, new_file
from tests.integration.worker.together import CONTENT, Watched, run, states, worker_over
from worker.lease import Hold
from worker.publish import Publisher


async def take_away(rig: Rig, job: Job) -> None:
    """Let the lease of a running job run out, and the sweep put it back."""
    await rig.shift(job.id, -1, "lease_until")
    await rig.parts.sweep.take_back_lost()


async def stored(rig: Rig, file: File) -> bytes:
    pieces = await rig.storage.read(ObjectKey(TENANT, file.id), 0, file.size)
    return b"".join([piece async for piece in pieces])


async def test_one_that_another_worker_has_now_is_not_published(rig: Rig) -> None:
    jobs = [await rig.whole(CONTENT) for _ in range(3)]

    async def stolen() -> None:
        await take_away(rig, jobs[0])
        assert await rig.parts.leases.claim([jobs[0].id])

    worker = worker_over(rig, Watched(rig.storage, stolen))
    lost, *others = await run(worker, jobs)
    assert (lost.state, lost.fence, lost.lease_owner) == (JobState.RUNNING, 2, rig.parts.leases.owner)
    assert [job.state for job in others] == [JobState.SUCCEEDED] * 2
    assert worker.counted("lease_lost_total") == 1
    assert lost.id not in {job.upload_id for job in await rig.jobs(JobKind.METADATA)}


async def test_the_worker_that_took_it_publishes_the_same_file(rig: Rig) -> None:
    """The first one has sealed it already."""
    jobs = [await rig.whole(CONTENT) for _ in range(2)]

    async def lose() -> None:
        await take_away(rig, jobs[0])

    await run(worker_over(rig, Watched(rig.storage, lose)), jobs)
    assert (await rig.job(jobs[0].id)).state == JobState.QUEUED
    [again] = await run(rig, jobs[:1])
    file = await rig.file(jobs[0].file_id or "")
    assert (again.state, again.file_id) == (JobState.SUCCEEDED, jobs[0].file_id)
    assert await stored(rig, file) == CONTENT


async def test_one_lost_lease_stops_all_and_gives_the_others_back(rig: Rig) -> None:
    storage = Watched(rig.storage, hold=True)
    worker = worker_over(rig, storage)
    jobs = [await rig.whole(CONTENT) for _ in range(3)]
    running = asyncio.create_task(run(worker, jobs))
    await storage.reached.wait()
    await take_away(rig, jobs[1])
    await worker.parts.leases.beat()
    found = await running
    assert [(job.state, job.attempts) for job in found] == [("queued", 0), ("queued", 1), ("queued", 0)]
    assert worker.counted("lease_lost_total") == 1
    assert worker.counted("jobs_total", kind="finalize", outcome="given_back") == 2


async def test_what_a_stopping_worker_gives_back_is_run_by_the_next(rig: Rig) -> None:
    storage = Watched(rig.storage, hold=True)
    worker = worker_over(rig, storage)
    jobs = [await rig.whole(CONTENT) for _ in range(3)]
    running = asyncio.create_task(run(worker, jobs))
    await storage.reached.wait()
    worker.parts.runner.stop()
    worker.parts.runner.give_back()
    assert await worker.parts.runner.drain(10)
    assert {(job.state, job.attempts) for job in await running} == {("queued", 0)}
    assert {job.state for job in await run(rig, jobs)} == {JobState.SUCCEEDED}


async def test_an_attempt_that_takes_too_long_is_given_up_for_all(rig: Rig) -> None:
    worker = worker_over(rig, Watched(rig.storage, hold=True), job_timeout=0.05)
    jobs = [await rig.whole(CONTENT) for _ in range(2)]
    found = await run(worker, jobs)
    assert {(job.state, job.error_code) for job in found} == {("queued", "job_timeout")}


async def test_a_crash_between_seal_and_publication_is_finished_by_the_next_attempt(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    worker = worker_over(rig, rig.storage)
    jobs = [await rig.whole(CONTENT) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish_all", broken)
        assert {job.state for job in await run(worker, jobs)} == {JobState.QUEUED}
    for job in jobs:
        await rig.shift(job.id, -1, "next_attempt_at")
    assert {job.state for job in await run(worker, jobs)} == {JobState.SUCCEEDED}
    for job in jobs:
        assert await stored(rig, await rig.file(job.file_id or "")) == CONTENT
        assert (await rig.get_upload(job.upload_id)).cleaned


@pytest.mark.parametrize("complete", [True, False])
async def test_a_file_that_is_there_already_is_not_made_twice(rig: Rig, complete: bool) -> None:
    """Not reachable through the fence; if it ever is, there is still one file."""
    jobs = [await rig.whole(CONTENT) for _ in range(3)]

    async def publish() -> None:
        upload = await rig.get_upload(jobs[1].upload_id)
        async with rig.database.transaction() as repository:
            await repository.files.insert(new_file(upload, jobs[1].file_id or ""))
            if complete:
                await repository.uploads.move(TENANT, upload.id, UploadState.FINALIZING, UploadState.COMPLETE)

    worker = worker_over(rig, Watched(rig.storage, publish))
    first, adopted, last = await run(worker, jobs)
    assert (first.state, last.state) == (JobState.SUCCEEDED, JobState.SUCCEEDED)
    if complete:
        assert (adopted.state, adopted.file_id) == (JobState.SUCCEEDED, jobs[1].file_id)
    else:
        assert (adopted.state, adopted.error_code) == (JobState.FAILED, "upload_gone")


# --- the database -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_publication_whose_commit_failed_is_made_again_with_all_its_rows(rig: Rig) -> None:
    jobs = [await rig.whole(CONTENT) for _ in range(2)]
    failed: list[str] = []

    def fail_once(connection: Connection) -> None:
        found = connection.exec_driver_sql("SELECT state FROM uploads").scalars().all()
        if UploadState.COMPLETE in found and not failed:
            failed.append("commit")
            raise OperationalError("COMMIT", None, OSError("disk I/O error"))

    event.listen(rig.database.engine.sync_engine, "commit", fail_once)
    found = await run(worker_over(rig, rig.storage), jobs)
    assert failed
    assert {job.state for job in found} == {JobState.SUCCEEDED}
    assert {job.state for job in await rig.jobs(JobKind.METADATA)} == {JobState.SUCCEEDED}


async def test_what_is_published_stays_so_where_the_database_goes_away_for_the_rest(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_over(rig, rig.storage)
    jobs = [await rig.whole(CONTENT) for _ in range(3)]
    publish, times = Publisher.publish_all, []

    async def away_at_first(self: Publisher, publications: list[object]) -> list[object]:
        times.append(len(publications))
        if len(times) > 1:
            return await publish(self, publications)  # type: ignore[arg-type,return-value]
        return [*(await publish(self, publications[:2])), DatabaseUnavailable("away")]  # type: ignore[arg-type]

    monkeypatch.setattr(Publisher, "publish_all", away_at_first)
    assert {job.state for job in await run(worker, jobs)} == {JobState.SUCCEEDED}
    assert times == [3, 1]
    assert worker.counted("jobs_total", kind="finalize", outcome="succeeded") == 3


async def test_a_lease_that_runs_out_while_the_database_is_away_loses_only_what_is_left(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_over(rig, rig.storage)
    jobs = [await rig.whole(CONTENT) for _ in range(2)]
    publish = Publisher.publish_all

    async def away(self: Publisher, publications: list[object]) -> list[object]:
        for hold in worker.parts.leases._held.values():
            hold.renewed_at = float("-inf")
        return [*(await publish(self, publications[:1])), DatabaseUnavailable("away")]  # type: ignore[arg-type]

    monkeypatch.setattr(Publisher, "publish_all", away)
    await run(worker, jobs)
    assert worker.counted("lease_lost_total") == 1
    assert await states(rig, jobs) == [JobState.SUCCEEDED, JobState.RUNNING]
    await take_away(rig, jobs[1])
    monkeypatch.undo()
    assert {job.state for job in await run(rig, jobs[1:])} == {JobState.SUCCEEDED}


async def test_where_their_rows_cannot_be_read_each_runs_by_itself(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(rig.storage)
    worker = worker_over(rig, watched)
    jobs = [await rig.whole(CONTENT) for _ in range(2)]

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr("common.db.uploads.Uploads.get_all", away)
    await run(worker, jobs)
    assert 2 not in watched.groups


async def test_a_worker_that_stops_waits_for_what_it_is_claiming(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await rig.whole(b"small")
    claim, reached, go_on = rig.parts.leases.claim, asyncio.Event(), asyncio.Event()

    async def held(job_ids: Sequence[str]) -> list[Hold]:
        reached.set()
        await go_on.wait()
        return await claim(job_ids)

    monkeypatch.setattr(rig.parts.leases, "claim", held)
    ring = asyncio.create_task(rig.parts.runner.run_jobs({}, [job.id]))
    await reached.wait()
    late = asyncio.create_task(rig.parts.runner.run_jobs({}, [job.id]))
    await asyncio.sleep(0)
    rig.parts.runner.stop()
    assert not await rig.parts.runner.drain(0.01)
    go_on.set()
    assert await rig.parts.runner.drain(10)
    await ring
    assert (await rig.job(job.id)).state == JobState.SUCCEEDED
    with pytest.raises(RetryJob):  # it stood behind the claim: another worker takes it
        await late
