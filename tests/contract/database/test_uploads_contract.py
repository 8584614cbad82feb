"""The statements on uploads."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from common.db.database import Database
from common.ids import new_id
from common.states import JobState, UploadState
from tests.contract.database.rows import LATE, put, upload_of
from tests.integration.worker.rig import TENANT, new_job, new_upload


async def test_of_many_moves_at_once_one_happens(database: Database) -> None:
    await put(database, upload := new_upload(1))

    async def move() -> bool:
        async with database.transaction() as repository:
            return await repository.uploads.move(TENANT, upload.id, UploadState.OPEN, UploadState.FINALIZING)

    assert sorted(await asyncio.gather(*(move() for _ in range(8)))) == [False] * 7 + [True]


async def test_the_end_of_an_upload_is_timed(database: Database) -> None:
    await put(database, upload := new_upload(1))
    async with database.transaction() as repository:
        await repository.uploads.move(TENANT, upload.id, UploadState.OPEN, UploadState.FINALIZING)
    assert (await upload_of(database, upload.id)).finished_at is None
    async with database.transaction() as repository:
        await repository.uploads.move(TENANT, upload.id, UploadState.FINALIZING, UploadState.COMPLETE, file_id="f")
    assert (await upload_of(database, upload.id)).finished_at is not None


async def test_a_reopened_upload_has_a_new_round_and_new_time(database: Database) -> None:
    await put(database, upload := new_upload(1, state=UploadState.FINALIZING, job_id="j", expires_at=LATE))
    async with database.transaction() as repository:
        assert await repository.uploads.reopen(TENANT, upload.id, 100)
        assert not await repository.uploads.reopen(TENANT, upload.id, 100)
    again = await upload_of(database, upload.id)
    assert (again.state, again.round, again.job_id) == (UploadState.OPEN, 1, None)
    assert again.expires_at > datetime.now(UTC)


async def test_an_idempotency_key_belongs_to_one_upload_of_its_tenant(database: Database) -> None:
    await put(database, first := new_upload(1, idempotency_key="k"))
    await put(database, new_upload(1, idempotency_key="k", tenant="other"), new_upload(1), new_upload(1))
    with pytest.raises(IntegrityError):
        await put(database, new_upload(1, idempotency_key="k"))
    async with database.reading() as repository:
        found = await repository.uploads.by_idempotency_key(TENANT, "k")
    assert found is not None
    assert found.id == first.id


async def test_expiry_takes_only_open_uploads_whose_time_is_over(database: Database) -> None:
    due, busy = new_upload(1, expires_at=LATE), new_upload(1, expires_at=LATE, state=UploadState.FINALIZING)
    await put(database, due, busy, new_upload(1))
    async with database.transaction() as repository:
        assert [upload.id for upload in await repository.uploads.due_to_expire(10)] == [due.id]
        await repository.uploads.postpone([due.id], datetime.now(UTC) + timedelta(hours=1))
        assert not await repository.uploads.expire(due)  # it was given time in between
        assert await repository.uploads.due_to_expire(10) == []


async def test_time_is_given_and_never_taken(database: Database) -> None:
    now = datetime.now(UTC)
    short, long = new_upload(1, expires_at=now), new_upload(1, expires_at=now + timedelta(hours=3))
    ended = new_upload(1, expires_at=now, state=UploadState.EXPIRED)
    await put(database, short, long, ended)
    async with database.transaction() as repository:
        await repository.uploads.postpone([short.id, long.id, ended.id], now + timedelta(hours=2))
    seconds = [((await upload_of(database, each.id)).expires_at - now).total_seconds() for each in (short, long, ended)]
    assert seconds == [2 * 3600, 3 * 3600, 0]


async def test_ended_uploads_are_cleaned_then_purged(database: Database) -> None:
    ended = new_upload(1, state=UploadState.ABORTED, finished_at=LATE)
    await put(database, ended, new_upload(1))
    async with database.transaction() as repository:
        assert await repository.uploads.purge(30, 10) == 0  # something of it may be in the storage
        assert [upload.id for upload in await repository.uploads.uncleaned(10)] == [ended.id]
        await repository.uploads.mark_cleaned(ended.id)
        assert await repository.uploads.uncleaned(10) == []
        assert await repository.uploads.purge(3600, 10) == 0
        assert await repository.uploads.purge(30, 10) == 1


async def test_only_old_dead_letters_give_their_upload_up(database: Database) -> None:
    uploads = [new_upload(1, state=UploadState.FINALIZING, job_id=new_id()) for _ in range(3)]
    ends = [(JobState.FAILED, LATE), (JobState.FAILED, datetime.now(UTC)), (JobState.RUNNING, None)]
    jobs = [
        new_job(upload, id=upload.job_id, state=state, finished_at=at)
        for upload, (state, at) in zip(uploads, ends, strict=True)
    ]
    await put(database, *uploads, *jobs)
    async with database.transaction() as repository:
        assert await repository.uploads.give_up_dead_letters(30, 10) == 1
    states = [(await upload_of(database, upload.id)).state for upload in uploads]
    assert states == [UploadState.FAILED, UploadState.FINALIZING, UploadState.FINALIZING]
