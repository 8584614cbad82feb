"""Small files that came in one request are finalized together, and each stands for itself."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, select

from common.db.models import Upload
from common.states import FileState, JobKind, JobState, UploadState
from common.storage.base import ObjectKey, Segment, UploadKey
from tests.integration.worker.rig import TENANT, Body, Rig, until
from tests.integration.worker.together import CONTENT, Watched, run, states, worker_over
from worker.examine import Examiner

Damage = Callable[[str], None]


@pytest.fixture
def along(rig: Rig) -> Rig:
    """A worker for both kinds as it is in production."""
    return worker_over(rig, rig.storage)


@pytest.fixture
def flip(tmp_path: Path) -> Damage:
    """Flip one bit of an upload that is one file."""

    def flipped(upload_id: str) -> None:
        [path] = (tmp_path / "storage").glob(f"*/uploads/{upload_id}.whole")
        content = bytearray(path.read_bytes())
        content[0] ^= 1
        path.chmod(0o600)
        path.write_bytes(bytes(content))

    return flipped


@contextmanager
def commits_of(rig: Rig) -> Iterator[list[None]]:
    """One entry for each transaction that ends in the block."""
    counted: list[None] = []

    def note(_: Connection) -> None:
        counted.append(None)

    event.listen(rig.database.engine.sync_engine, "commit", note)
    yield counted
    event.remove(rig.database.engine.sync_engine, "commit", note)


# --- what becomes of them -----------------------------------------------------------------------------------


async def test_all_become_files_with_all_that_was_said_about_them(along: Rig, tmp_path: Path) -> None:
    jobs = [
        await along.whole(CONTENT + bytes([48 + n]), filename=f"{n}.csv", content_type="text/csv") for n in range(3)
    ]
    for number, job in enumerate(await run(along, jobs)):
        content = CONTENT + bytes([48 + number])
        upload, file = await along.get_upload(job.upload_id), await along.file(job.file_id or "")
        assert (job.state, job.attempts, upload.state, upload.cleaned) == ("succeeded", 1, "complete", True)
        assert (file.state, file.filename, file.content_type) == (FileState.READY, f"{number}.csv", "text/csv")
        assert (file.meta, file.tags, file.verified) == ({"from": "test"}, {"colour": "red"}, "read")
        assert file.digests["sha-256"] == hashlib.sha256(content).hexdigest()
        pieces = await along.storage.read(ObjectKey(TENANT, file.id), 0, file.size)
        assert b"".join([piece async for piece in pieces]) == content
    assert list((tmp_path / "storage" / TENANT / "uploads").iterdir()) == []


async def test_they_are_described_along(along: Rig) -> None:
    jobs = await run(along, [await along.whole(CONTENT, filename="t.csv") for _ in range(3)])
    for job in jobs:
        file = await along.file(job.file_id or "")
        assert file.attributes is not None
        assert (file.attributes["line_count"], file.detected_type) == (3, file.attributes["detected_type"])
    described = await along.jobs(JobKind.METADATA)
    assert {(job.state, job.file_id) for job in described} == {("succeeded", job.file_id) for job in jobs}
    assert await along.redis.zcard(f"{along.settings.redis.redis_queue_prefix}:queue:metadata") == 0


async def test_they_get_the_attributes_that_a_job_of_their_own_would_give(along: Rig) -> None:
    [together] = await run(along, [await along.whole(CONTENT, filename="t.csv")])
    alone = await along.published(CONTENT, filename="t.csv")
    file = await along.file(together.file_id or "")
    assert (file.attributes, file.detected_type) == (alone.attributes, alone.detected_type)


async def test_more_of_them_cost_no_more_transactions(along: Rig) -> None:
    counts = []
    for many in (2, 12):
        jobs = [await along.whole(CONTENT) for _ in range(many)]
        with commits_of(along) as commits:
            await run(along, jobs)
        counts.append(len(commits))
    assert counts[0] == counts[1]


async def test_each_is_counted(along: Rig) -> None:
    await run(along, [await along.whole(CONTENT) for _ in range(4)])
    for kind in JobKind:
        assert along.counted("jobs_total", kind=kind, outcome="succeeded") == 4
    assert along.counted("sealed_bytes_total") == 4 * len(CONTENT)
    for histogram in ("job_seconds_count", "job_wait_seconds_count", "job_turnaround_seconds_count"):
        assert along.counted(histogram, kind="finalize") == 4
    assert along.counted("jobs_running", kind="finalize") == 0


async def test_everybody_who_waits_is_told(along: Rig) -> None:
    jobs = [await along.whole(CONTENT) for _ in range(3)]
    heard: set[str] = set()
    listening = asyncio.create_task(along.context.signals.listen(heard.add))
    channel = f"{along.settings.redis.redis_queue_prefix}:ended"

    async def is_listening() -> bool:
        return bool((await along.redis.pubsub_numsub(channel))[0][1])

    async def has_heard() -> bool:
        return heard == {job.id for job in jobs}

    await until(is_listening)
    await run(along, jobs)
    await until(has_heard)
    listening.cancel()


async def test_what_cannot_be_described_is_published_and_left_to_its_own_job(
    along: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a file from hell")

    monkeypatch.setattr(Examiner, "of_content", broken)
    [job] = await run(along, [await along.whole(CONTENT)])
    [metadata] = await along.jobs(JobKind.METADATA)
    assert ((await along.file(job.file_id or "")).attributes, metadata.state) == (None, JobState.QUEUED)
    await along.run()  # its bell was rung
    assert (await along.job(metadata.id)).state == JobState.SUCCEEDED


# --- who runs together --------------------------------------------------------------------------------------


async def test_first_attempts_that_nobody_traces_are_sealed_at_once(rig: Rig) -> None:
    watched = Watched(rig.storage)
    worker = worker_over(rig, watched)
    traced = await rig.whole(CONTENT, trace_context="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    second = await rig.whole(CONTENT)
    assert await rig.parts.leases.claim([second.id])
    await rig.shift(second.id, -1, "lease_until")
    await rig.parts.sweep.take_back_lost()
    jobs = [traced, second, *[await rig.whole(CONTENT) for _ in range(3)]]
    assert {job.state for job in await run(worker, jobs)} == {JobState.SUCCEEDED}
    assert sorted(watched.groups) == [1, 1, 3]


async def test_large_ones_and_those_that_came_in_chunks_run_beside_them(rig: Rig) -> None:
    watched = Watched(rig.storage)
    worker = worker_over(rig, watched)
    large = await rig.whole(bytes(1024 * 1024 + 1))
    chunked = await rig.finalize(await rig.upload(CONTENT), ring=False)
    jobs = [large, chunked, *[await rig.whole(CONTENT) for _ in range(2)]]
    assert {job.state for job in await run(worker, jobs)} == {JobState.SUCCEEDED}
    assert sorted(watched.groups) == [1, 1, 2]


# --- one that goes wrong ------------------------------------------------------------------------------------


async def test_a_damaged_one_is_opened_again_and_can_be_finished(along: Rig, flip: Damage) -> None:
    jobs = [await along.whole(CONTENT) for _ in range(3)]
    flip(jobs[1].upload_id)
    first, damaged, last = await run(along, jobs)
    assert (first.state, last.state) == (JobState.SUCCEEDED, JobState.SUCCEEDED)
    assert (damaged.state, damaged.error_code) == (JobState.FAILED, "chunks_damaged")
    upload = await along.get_upload(damaged.upload_id)
    assert (upload.state, upload.round, upload.whole_crc64) == (UploadState.OPEN, 1, None)

    await along.storage.write(UploadKey(TENANT, upload.id), Segment(0, len(CONTENT)), Body(CONTENT))
    again = await along.finalize(upload)
    await along.run()
    assert (await along.job(again.id)).state == JobState.SUCCEEDED


async def test_one_whose_bytes_are_not_there_yet_is_tried_again(along: Rig) -> None:
    jobs = [await along.whole(CONTENT) for _ in range(2)]
    await along.storage.abort(UploadKey(TENANT, jobs[0].upload_id))
    late, other = await run(along, jobs)
    assert (late.state, late.error_code) == (JobState.QUEUED, "bytes_awaited")
    assert other.state == JobState.SUCCEEDED


async def test_one_whose_bytes_never_come_fails(along: Rig) -> None:
    job = await along.whole(CONTENT)
    await along.storage.abort(UploadKey(TENANT, job.upload_id))
    await run(along, [job])
    await along.shift(job.id, -1, "next_attempt_at")
    await along.shift(job.id, -61, "started_at")
    [failed] = await run(along, [job])
    assert (failed.state, failed.error_code) == (JobState.FAILED, "upload_gone")
    assert (await along.get_upload(job.upload_id)).state == UploadState.FAILED


async def test_one_with_another_digest_than_declared_fails_alone(along: Rig) -> None:
    wrong = await along.whole(CONTENT, digests={"sha-256": "00" * 32})
    right = await along.whole(CONTENT, digests={"sha-256": hashlib.sha256(CONTENT).hexdigest()})
    failed, published = await run(along, [wrong, right])
    assert (failed.state, failed.error_code) == (JobState.FAILED, "file_digest_mismatch")
    assert published.state == JobState.SUCCEEDED
    assert along.counted("jobs_failed_total", kind="finalize", code="file_digest_mismatch") == 1


async def test_one_whose_upload_was_given_up_fails_alone(rig: Rig) -> None:
    jobs = [await rig.whole(CONTENT) for _ in range(3)]

    async def give_up() -> None:
        async with rig.database.transaction() as repository:
            await repository.uploads.move(TENANT, jobs[1].upload_id, UploadState.FINALIZING, UploadState.FAILED)

    worker = worker_over(rig, Watched(rig.storage, give_up))
    first, lost, last = await run(worker, jobs)
    assert (first.state, last.state) == (JobState.SUCCEEDED, JobState.SUCCEEDED)
    assert (lost.state, lost.error_code) == (JobState.FAILED, "upload_gone")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_one_whose_row_somebody_holds_is_published_when_it_is_free(along: Rig) -> None:
    jobs = [await along.whole(CONTENT) for _ in range(3)]
    async with along.database.reading() as stranger:
        held = select(Upload).where(Upload.id == jobs[2].upload_id).with_for_update()
        await stranger.session.execute(held)
        running = asyncio.create_task(run(along, jobs))

        async def others_are_published() -> bool:
            return await states(along, jobs) == [JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.RUNNING]

        await until(others_are_published)
    assert {job.state for job in await running} == {JobState.SUCCEEDED}
    assert along.counted("jobs_total", kind="finalize", outcome="succeeded") == 3
