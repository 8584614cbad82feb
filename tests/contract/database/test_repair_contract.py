"""The statements behind dead letters, the scrub and fsck."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from common.db.database import Database
from common.db.jobs import JobFailure
from common.db.models import File, Job
from common.ids import new_id
from common.states import FileState, JobKind, JobState, UploadState
from tests.contract.database.rows import LATE, claimed, job_of, put, queued, upload_of
from tests.integration.worker.rig import TENANT, new_file, new_job, new_upload

EXHAUSTED = {"state": JobState.FAILED, "error_code": "attempts_exhausted", "error_detail": "All 10 attempts failed."}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def published(database: Database, **columns: Any) -> File:
    """A file whose bytes were last looked at long ago."""
    file = new_file(new_upload(1), new_id(), **{"scrubbed_at": LONG_AGO, **columns})
    await put(database, file)
    return file


async def state_of(database: Database, file_id: str) -> str:
    async with database.reading() as repository:
        file = await repository.session.get(File, file_id)
    assert file is not None
    return file.state


async def redriven(database: Database, job_id: str, tenant: str = TENANT) -> Job | None:
    async with database.transaction() as repository:
        return await repository.jobs.redrive(tenant, job_id)


# --- dead letters -------------------------------------------------------------------------------------------


async def test_a_dead_letter_that_is_driven_again_begins_anew(database: Database) -> None:
    job = await queued(database, **EXHAUSTED, attempts=10, epoch=7, fence=9, finished_at=LATE, started_at=LATE)
    again = await redriven(database, job.id)
    assert again is not None
    assert (again.state, again.attempts, again.epoch, again.fence) == (JobState.QUEUED, 0, 8, 9)
    assert (again.error_code, again.error_detail, again.finished_at) == (None, None, None)
    async with database.transaction() as repository:
        assert await repository.jobs.claim([job.id], "me", 15)  # due at once


@pytest.mark.parametrize(
    "columns",
    [
        {"state": JobState.FAILED, "error_code": "chunks_damaged"},
        {"state": JobState.SUCCEEDED},
        {"state": JobState.QUEUED, "error_code": "attempts_exhausted"},
        {"state": JobState.RUNNING},
    ],
)
async def test_only_dead_letters_are_driven_again(database: Database, columns: dict[str, Any]) -> None:
    job = await queued(database, **columns)
    assert await redriven(database, job.id) is None
    assert (await job_of(database, job.id)).epoch == 0


async def test_nobody_drives_the_job_of_another_tenant(database: Database) -> None:
    job = await queued(database, **EXHAUSTED)
    assert await redriven(database, job.id, "other") is None


async def test_of_many_drives_at_once_one_happens(database: Database) -> None:
    job = await queued(database, **EXHAUSTED)
    driven = await asyncio.gather(*(redriven(database, job.id) for _ in range(8)))
    assert len([found for found in driven if found is not None]) == 1
    assert (await job_of(database, job.id)).epoch == 1


async def test_a_job_that_is_driven_again_can_become_a_dead_letter_again(database: Database) -> None:
    job, lease = await claimed(database)
    async with database.transaction() as repository:
        await repository.jobs.fail(lease, JobFailure("attempts_exhausted", "Once."))
    assert await redriven(database, job.id) is not None
    assert await redriven(database, job.id) is None
    assert (await job_of(database, job.id)).state == JobState.QUEUED


# --- scrub --------------------------------------------------------------------------------------------------


async def taken(database: Database, period: float = 3600) -> str | None:
    async with database.transaction() as repository:
        file = await repository.files.start_scrub(period)
    return None if file is None else file.id


async def test_files_are_taken_for_the_scrub_oldest_first_and_once(database: Database) -> None:
    second = await published(database, scrubbed_at=LONG_AGO + timedelta(days=1))
    first = await published(database)
    await published(database, scrubbed_at=datetime.now(UTC))
    assert [await taken(database) for _ in range(3)] == [first.id, second.id, None]


async def test_a_file_is_taken_again_after_the_period(database: Database) -> None:
    file = await published(database)
    assert await taken(database) == file.id
    assert await taken(database) is None
    await asyncio.sleep(0.02)
    assert await taken(database, period=0.01) == file.id


async def test_a_file_of_the_version_before_has_no_time_and_is_taken(database: Database) -> None:
    file = await published(database, scrubbed_at=None)
    assert [await taken(database), await taken(database)] == [file.id, None]


async def test_damaged_files_are_looked_at_again_and_deleted_ones_are_not(database: Database) -> None:
    await published(database, state=FileState.DELETING)
    damaged = await published(database, state=FileState.CORRUPT)
    assert [await taken(database), await taken(database)] == [damaged.id, None]


async def test_two_workers_never_take_the_same_file(database: Database) -> None:
    files = {(await published(database)).id for _ in range(4)}
    found = await asyncio.gather(*(taken(database) for _ in range(6)))
    assert len([one for one in found if one]) == len(set(found) - {None})
    assert set(found) <= files | {None}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_looking_for_a_file_to_scrub_uses_its_index(database: Database) -> None:
    for waits in ("scrubbed_at <= 'x'", "scrubbed_at IS NULL"):
        query = f"SELECT id FROM files WHERE state = 'ready' AND {waits} ORDER BY scrubbed_at LIMIT 1"
        async with database.reading() as repository:
            rows = await repository.session.execute(text(f"EXPLAIN QUERY PLAN {query}"))
        plan = " ".join(row.detail for row in rows)
        assert "ix_files_scrub" in plan
        assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FileState.READY, FileState.CORRUPT),
        (FileState.CORRUPT, FileState.CORRUPT),
        (FileState.DELETING, FileState.DELETING),
    ],
)
async def test_only_a_ready_file_is_marked_corrupt(database: Database, before: FileState, after: FileState) -> None:
    file = await published(database, state=before)
    async with database.transaction() as repository:
        assert await repository.files.mark_corrupt(file.id) == (before != after)
    assert await state_of(database, file.id) == after


async def test_only_a_corrupt_file_is_marked_sound(database: Database) -> None:
    states = [FileState.READY, FileState.CORRUPT, FileState.DELETING]
    files = [await published(database, state=state) for state in states]
    async with database.transaction() as repository:
        assert [await repository.files.mark_sound(file.id) for file in files] == [False, True, False]
    assert [await state_of(database, file.id) for file in files] == ["ready", "ready", "deleting"]


async def test_a_corrupt_file_is_shown_listed_changed_and_deleted(database: Database) -> None:
    file = await published(database, state=FileState.CORRUPT)
    async with database.transaction() as repository:
        assert await repository.files.get(TENANT, file.id) is not None
        assert await repository.files.change(TENANT, file.id, {"description": "was it the disk?"}) is not None
        assert await repository.files.start_delete(TENANT, file.id)
        assert await repository.files.get(TENANT, file.id) is None


# --- fsck ---------------------------------------------------------------------------------------------------


async def test_files_are_known_in_every_state(database: Database) -> None:
    files = {(await published(database, state=state)).id for state in FileState}
    async with database.reading() as repository:
        assert await repository.files.known([*files, new_id()]) == files
        assert await repository.files.known([]) == set()


async def test_ready_files_are_walked_through_in_the_order_of_their_ids(database: Database) -> None:
    files = sorted([(await published(database)).id for _ in range(5)])
    await published(database, state=FileState.CORRUPT)
    async with database.reading() as repository:
        first = [file.id for file in await repository.files.ready_after("", 3)]
        rest = [file.id for file in await repository.files.ready_after(first[-1], 3)]
    assert first + rest == files


async def test_an_upload_may_have_bytes_until_it_is_cleaned(database: Database) -> None:
    living = [new_upload(1, file_id=new_id(), state=state) for state in UploadState]
    gone = new_upload(1, file_id=new_id(), state=UploadState.ABORTED, cleaned=True)
    await put(database, *living, gone)
    async with database.reading() as repository:
        found = await repository.uploads.with_bytes([*(upload.id for upload in living), gone.id, new_id()])
        targets = await repository.uploads.sealing_to([str(upload.file_id) for upload in [*living, gone]])
    assert found == {upload.id for upload in living}
    assert targets == {upload.file_id for upload in living}


async def test_uploads_whose_job_is_gone_are_found_page_by_page(database: Database) -> None:
    stuck = [new_upload(1, state=UploadState.FINALIZING, job_id=new_id()) for _ in range(3)]
    stuck.append(new_upload(1, state=UploadState.FINALIZING, job_id=None))
    ended = new_job(stuck[0], id=stuck[0].job_id, state=JobState.SUCCEEDED)
    await put(database, *stuck, ended, new_upload(1), new_upload(1, state=UploadState.COMPLETE))
    served = [new_upload(1, state=UploadState.FINALIZING, job_id=new_id()) for _ in range(3)]
    states = (JobState.QUEUED, JobState.RUNNING, JobState.FAILED)
    jobs = [new_job(upload, id=upload.job_id, state=state) for upload, state in zip(served, states, strict=True)]
    await put(database, *served, *jobs)
    async with database.reading() as repository:
        first = await repository.uploads.without_job("", 3)
        rest = await repository.uploads.without_job(first[-1].id, 3)
        assert await repository.uploads.lacks_job(stuck[0].id)
        assert not await repository.uploads.lacks_job(served[0].id)
    assert [upload.id for upload in [*first, *rest]] == sorted(upload.id for upload in stuck)


async def test_an_upload_is_handed_over_to_another_job_once(database: Database) -> None:
    upload = new_upload(1, state=UploadState.FINALIZING, job_id=new_id())
    await put(database, upload)
    async with database.transaction() as repository:
        assert await repository.uploads.hand_over(upload, "next")
        assert not await repository.uploads.hand_over(upload, "another")
    assert (await upload_of(database, upload.id)).job_id == "next"


async def test_the_job_of_a_round_makes_place_for_another(database: Database) -> None:
    upload = new_upload(1)
    first, other = new_job(upload), new_job(upload, JobKind.METADATA)
    later = new_job(upload, round=1)
    await put(database, upload, first, other, later)
    async with database.transaction() as repository:
        await repository.jobs.remove_round(upload.id, JobKind.FINALIZE, 0)
        await repository.jobs.insert(new_job(upload))
        assert await repository.jobs.get(TENANT, first.id) is None
        assert await repository.jobs.get(TENANT, other.id) is not None
        assert await repository.jobs.get(TENANT, later.id) is not None
