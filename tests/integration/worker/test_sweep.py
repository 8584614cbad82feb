"""The sweep: everything left behind is found, and nothing that lives is touched."""

import asyncio
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.db.models import File, Job, Upload
from common.states import FileState, JobState, UploadState
from common.storage.base import ObjectKey, UploadKey
from tests.integration.worker.rig import TENANT, Rig, new_job, new_upload, with_settings

CONTENT = b"y" * 1500


async def lost_job(rig: Rig) -> Job:
    """A running job whose worker died."""
    job = await rig.finalize(await rig.upload(CONTENT), ring=False)
    assert await rig.parts.leases.claim([job.id])
    await rig.shift(job.id, -1, "lease_until")
    return await rig.job(job.id)


async def test_a_job_of_a_dead_worker_is_rung_again_and_finished(rig: Rig) -> None:
    job = await lost_job(rig)

    await rig.parts.sweep.once()
    await rig.run()

    assert (await rig.job(job.id)).state == JobState.SUCCEEDED
    assert rig.counted("swept_total", reason="lease_lost") == 1


async def test_a_job_of_a_dead_worker_without_attempts_left_is_a_dead_letter(rig: Rig) -> None:
    job = await lost_job(rig)
    once = Rig(with_settings(rig.settings, max_attempts=1), rig.database, rig.storage, rig.redis)

    await once.parts.sweep.take_back_lost()

    dead = await rig.job(job.id)
    assert (dead.state, dead.error_code) == (JobState.FAILED, "attempts_exhausted")
    assert (await rig.get_upload(job.upload_id)).state == UploadState.FINALIZING
    assert once.counted("swept_total", reason="attempts_exhausted") == 1


async def test_after_flushall_the_bell_is_rung_again(rig: Rig) -> None:
    job = await rig.finalize(await rig.upload(CONTENT))
    await rig.redis.flushall()
    await rig.shift(job.id, -6, "rung_at", "next_attempt_at")

    await rig.parts.sweep.once()
    await rig.run()

    assert (await rig.job(job.id)).state == JobState.SUCCEEDED
    assert rig.counted("swept_total", reason="bell_lost") == 1


async def test_a_bell_that_was_never_rung_is_rung(rig: Rig) -> None:
    """Redis was away at finalize."""
    job = await rig.finalize(await rig.upload(CONTENT), ring=False)
    await rig.shift(job.id, -6, "rung_at", "next_attempt_at")
    await rig.parts.sweep.once()
    await rig.run()
    assert (await rig.job(job.id)).state == JobState.SUCCEEDED


async def test_a_job_that_was_rung_just_now_is_left_alone(rig: Rig) -> None:
    job = await rig.finalize(await rig.upload(CONTENT), ring=False)
    await rig.parts.sweep.ring_again()
    assert (await rig.job(job.id)).epoch == 0


async def test_waiting_in_a_long_queue_is_no_reason_to_ring(rig: Rig) -> None:
    job = await rig.finalize(await rig.upload(CONTENT))
    await rig.shift(job.id, -60, "rung_at", "next_attempt_at")

    await rig.parts.sweep.ring_again()

    waiting = await rig.job(job.id)
    assert waiting.epoch == 0
    assert datetime.now(UTC) - waiting.rung_at < timedelta(seconds=30)  # looked at: the next pass sees others
    assert await rig.redis.zcard("sluice:queue:finalize") == 1


async def test_a_ring_that_a_killed_worker_had_taken_up_is_replaced(rig: Rig) -> None:
    """ARQ would keep it in progress for a day; the queue must not grow by the new one."""
    job = await rig.finalize(await rig.upload(CONTENT))
    await rig.redis.set(f"arq:in-progress:{job.id}:0", b"1")
    await rig.shift(job.id, -6, "rung_at", "next_attempt_at")

    await rig.parts.sweep.ring_again()

    assert await rig.redis.zrange("sluice:queue:finalize", 0, -1) == [f"{job.id}:1".encode()]


async def test_jobs_that_are_rung_again_keep_their_place(rig: Rig) -> None:
    old = await rig.finalize(await rig.upload(CONTENT), ring=False)
    await rig.shift(old.id, -100, "rung_at", "next_attempt_at")
    new = await rig.finalize(await rig.upload(CONTENT))

    await rig.parts.sweep.ring_again()

    queue = await rig.redis.zrange("sluice:queue:finalize", 0, -1)
    assert queue == [f"{old.id}:1".encode(), f"{new.id}:0".encode()]


async def test_a_flushed_queue_of_many_is_rung_in_one_pass(rig: Rig) -> None:
    # on a busy machine the pass takes long: neither Redis nor a bell of its own first round is too late for that
    patient = with_settings(rig.settings, sweep_seconds=60.0)
    patient = replace(patient, redis=patient.redis.model_copy(update={"redis_timeout": 30.0}))
    rig = Rig(patient, rig.database, rig.storage, rig.redis)
    late = datetime.now(UTC) - timedelta(seconds=600)
    uploads = [new_upload(1) for _ in range(1200)]
    async with rig.database.transaction() as repository:
        jobs = [new_job(upload, rung_at=late, next_attempt_at=late) for upload in uploads]
        repository.session.add_all(jobs)

    await rig.parts.sweep.ring_again()

    assert await rig.redis.zcard("sluice:queue:finalize") == 1200


async def test_two_sweeps_at_once_ring_each_job_once(rig: Rig) -> None:
    job = await rig.finalize(await rig.upload(CONTENT), ring=False)
    await rig.shift(job.id, -6, "rung_at", "next_attempt_at")
    other = rig.second()

    await asyncio.gather(rig.parts.sweep.ring_again(), other.parts.sweep.ring_again())

    assert (await rig.job(job.id)).epoch == 1


async def test_an_upload_whose_time_is_over_expires_and_leaves_nothing(rig: Rig) -> None:
    past = datetime.now(UTC) - timedelta(days=2)
    upload = await rig.upload(CONTENT, created_at=past, expires_at=past)
    age_bytes(rig, upload)

    await rig.parts.sweep.once()

    gone = await rig.get_upload(upload.id)
    assert (gone.state, gone.cleaned) == (UploadState.EXPIRED, True)
    with pytest.raises(FileNotFoundError):
        await rig.storage.receipts(UploadKey(TENANT, upload.id))
    assert rig.counted("swept_total", reason="expired") == 1


async def test_an_upload_that_still_receives_bytes_lives_on(rig: Rig) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    upload = await rig.upload(CONTENT, expires_at=past)

    await rig.parts.sweep.once()

    kept = await rig.get_upload(upload.id)
    assert kept.state == UploadState.OPEN
    assert kept.expires_at > datetime.now(UTC) + timedelta(hours=23)


async def test_a_part_does_not_expire_while_a_file_is_made_of_it(rig: Rig) -> None:
    past = datetime.now(UTC) - timedelta(days=2)
    part = await rig.upload(CONTENT, created_at=past, expires_at=past, partial=True)
    age_bytes(rig, part)
    final = await rig.upload(CONTENT, parts=1)
    async with rig.database.transaction() as repository:
        await repository.parts.insert(final.id, [part.id])
        await repository.uploads.move(TENANT, final.id, UploadState.OPEN, UploadState.FINALIZING)

    await rig.parts.sweep.expire()

    kept = await rig.get_upload(part.id)
    assert kept.state == UploadState.OPEN
    assert kept.expires_at > datetime.now(UTC)


async def test_an_upload_that_is_being_finalized_does_not_expire(rig: Rig) -> None:
    upload = await rig.upload(CONTENT, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    age_bytes(rig, upload)
    await rig.finalize(upload)
    await rig.parts.sweep.expire()
    assert (await rig.get_upload(upload.id)).state == UploadState.FINALIZING


async def test_an_upload_that_cannot_be_removed_does_not_keep_the_others(rig: Rig) -> None:
    uploads = [await rig.upload(CONTENT) for _ in range(3)]
    for upload in uploads:
        async with rig.database.transaction() as repository:
            await repository.uploads.move(TENANT, upload.id, UploadState.OPEN, UploadState.ABORTED)
    stuck = uploads_folder(rig) / uploads[0].id / "foreign"
    stuck.mkdir()

    await rig.parts.sweep.clean()
    cleaned = [(await rig.get_upload(upload.id)).cleaned for upload in uploads]
    for foreign in uploads_folder(rig).glob("*/foreign"):
        foreign.rmdir()
    await rig.parts.sweep.clean()

    assert cleaned == [False, True, True]
    assert (await rig.get_upload(uploads[0].id)).cleaned


async def test_the_bytes_of_an_aborted_upload_are_removed(rig: Rig) -> None:
    upload = await rig.upload(CONTENT)
    async with rig.database.transaction() as repository:
        await repository.uploads.move(TENANT, upload.id, UploadState.OPEN, UploadState.ABORTED)

    await rig.parts.sweep.once()

    assert (await rig.get_upload(upload.id)).cleaned
    with pytest.raises(FileNotFoundError):
        await rig.storage.receipts(UploadKey(TENANT, upload.id))


async def test_a_deleted_file_loses_its_bytes_then_its_row(rig: Rig) -> None:
    file = await rig.published(CONTENT)
    async with rig.database.transaction() as repository:
        await repository.files.start_delete(TENANT, file.id)

    await rig.parts.sweep.once()

    with pytest.raises(FileNotFoundError):
        await rig.storage.read(ObjectKey(TENANT, file.id), 0, 1)
    async with rig.database.reading() as repository:
        assert await repository.session.get(File, file.id) is None


async def test_a_dead_letter_that_nobody_drove_again_gives_its_upload_up(rig: Rig) -> None:
    job = await lost_job(rig)
    once = Rig(with_settings(rig.settings, max_attempts=1), rig.database, rig.storage, rig.redis)
    await once.parts.sweep.take_back_lost()
    await rig.shift(job.id, -rig.settings.limits.retention - 1, "finished_at")

    await rig.parts.sweep.purge()

    assert (await rig.get_upload(job.upload_id)).state == UploadState.FAILED
    assert (await rig.job(job.id)).state == JobState.FAILED


async def test_rows_are_removed_after_their_retention_and_files_stay(rig: Rig) -> None:
    file = await rig.published(CONTENT)
    await rig.run()
    long_ago = datetime.now(UTC) - timedelta(days=30)
    async with rig.database.transaction() as repository:
        for table, ended in ((Upload, Upload.id == file.upload_id), (Job, Job.upload_id == file.upload_id)):
            await repository.session.execute(table.__table__.update().where(ended).values(finished_at=long_ago))  # type: ignore[attr-defined]

    await rig.parts.sweep.once()

    assert await rig.jobs() == []
    async with rig.database.reading() as repository:
        assert await repository.uploads.get(TENANT, file.upload_id) is None
    assert (await rig.file(file.id)).state == FileState.READY


async def test_a_step_that_fails_does_not_keep_the_others(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise OSError("no storage")

    monkeypatch.setattr(rig.storage, "last_activity", broken)
    await rig.upload(CONTENT, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    job = await lost_job(rig)
    await rig.shift(job.id, -1, "lease_until")

    await rig.parts.sweep.once()

    assert (await rig.job(job.id)).state == JobState.QUEUED


def uploads_folder(rig: Rig) -> Path:
    return Path(rig.settings.storage.storage_url.removeprefix("file://")) / TENANT / "uploads"


def age_bytes(rig: Rig, upload: Upload) -> None:
    """Make the stored bytes old: the clock of a file system cannot be turned, its times can."""
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    folder = uploads_folder(rig) / upload.id
    for path in [*folder.iterdir(), folder]:
        os.utime(path, (long_ago, long_ago))


async def test_more_lost_jobs_than_one_pass_takes_ask_for_another_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sweep.LOST_AT_ONCE", 2)
    jobs = [await rig.finalize(await rig.upload(b"lost")) for _ in range(3)]
    await rig.parts.leases.claim([job.id for job in jobs])
    for job in jobs:
        await rig.shift(job.id, -1, "lease_until")
    assert await rig.parts.sweep.take_back_lost()
    assert not await rig.parts.sweep.take_back_lost()
    assert {(await rig.job(job.id)).state for job in jobs} == {JobState.QUEUED}
