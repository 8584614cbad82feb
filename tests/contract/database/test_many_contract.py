"""Statements that serve many callers at once: each row stands for itself."""

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from common.db.database import Database
from common.db.jobs import Lease
from common.db.lookups import Lookups
from common.db.models import Upload
from common.db.uploads import Said, Start
from common.ids import new_id
from common.states import JobState, UploadState
from tests.contract.database.rows import claimed, job_of, put, queued, upload_of
from tests.integration.worker.rig import TENANT, new_file, new_job, new_upload


def start_of(upload_id: str, tenant: str = TENANT) -> Start:
    said = Said(7, "a description", {"a": [1]}, {"k": "v"}, {"sha-256": "00" * 32})
    return Start(tenant, upload_id, new_id(), new_id(), said)


async def test_many_uploads_are_one_insert(database: Database) -> None:
    uploads = [new_upload(number) for number in range(5)]
    async with database.transaction() as repository:
        await repository.uploads.insert_all(uploads)
    for upload in uploads:
        found = await upload_of(database, upload.id)
        assert (found.size, found.meta, found.created_at) == (upload.size, upload.meta, upload.created_at)


async def test_an_insert_of_a_row_that_is_there_inserts_none(database: Database) -> None:
    await put(database, there := new_upload(1))
    async with database.reading() as repository:
        again = await repository.uploads.get(TENANT, there.id)
    assert again is not None
    fresh = new_upload(1, id=new_id())
    with pytest.raises(IntegrityError):
        async with database.transaction() as repository:
            await repository.uploads.insert_all([fresh, new_upload(1, id=there.id)])
    async with database.reading() as repository:
        assert await repository.uploads.get(TENANT, fresh.id) is None


async def test_many_uploads_start_at_once_and_only_open_ones(database: Database) -> None:
    opened = [new_upload(None, meta={}) for _ in range(3)]
    ended = new_upload(1, state=UploadState.ABORTED)
    others = new_upload(1, tenant="other")
    await put(database, *opened, ended, others)
    starts = [start_of(upload.id) for upload in (*opened, ended, others)]

    async with database.transaction() as repository:
        moved = await repository.uploads.start_all(starts, wait=True)

    assert moved == {(TENANT, upload.id) for upload in opened}
    for start in starts[:3]:
        found = await upload_of(database, start.upload_id)
        assert (found.state, found.job_id, found.file_id) == (UploadState.FINALIZING, start.job_id, start.file_id)
        said = Said(found.size or 0, found.description, found.meta, found.tags, found.digests)
        assert said == start.said
    assert (await upload_of(database, ended.id)).state == UploadState.ABORTED


async def test_nothing_to_start_is_nothing(database: Database) -> None:
    async with database.transaction() as repository:
        assert await repository.uploads.start_all([start_of(new_id())], wait=True) == set()


async def test_of_many_completions_only_those_that_are_waited_for_happen(database: Database) -> None:
    waiting, open_one = new_upload(1, state=UploadState.FINALIZING), new_upload(1)
    await put(database, waiting, open_one)
    keys = [(TENANT, waiting.id), (TENANT, open_one.id), ("other", waiting.id)]
    async with database.transaction() as repository:
        assert await repository.uploads.complete_all(keys, wait=False) == {(TENANT, waiting.id)}
    done = await upload_of(database, waiting.id)
    assert done.state == UploadState.COMPLETE
    assert done.finished_at is not None


async def test_many_jobs_are_one_insert_and_due_at_once(database: Database) -> None:
    jobs = [new_job(new_upload(1), bell="b") for _ in range(3)]
    async with database.transaction() as repository:
        await repository.jobs.insert_all(jobs)
    async with database.transaction() as repository:
        taken = await repository.jobs.claim([job.id for job in jobs], "me", 15)
    assert {job.id for job in taken} == {job.id for job in jobs}
    assert {job.bell for job in taken} == {"b"}


async def test_a_claim_of_many_takes_those_that_are_to_be_had(database: Database) -> None:
    free = [await queued(database) for _ in range(2)]
    taken, lease = await claimed(database)
    async with database.transaction() as repository:
        claims = await repository.jobs.claim([free[0].id, taken.id, free[1].id, new_id()], "another", 15)
    assert {job.id for job in claims} == {job.id for job in free}
    assert {(job.state, job.fence, job.attempts) for job in claims} == {(JobState.RUNNING, 1, 1)}
    assert (await job_of(database, taken.id)).lease_owner == lease.owner


async def test_many_jobs_end_at_once_and_only_those_whose_fence_is_right(database: Database) -> None:
    mine, lease = await claimed(database)
    lost, old = await claimed(database)
    async with database.transaction() as repository:
        held = await repository.jobs.succeed_all([lease, Lease(old.job_id, old.owner, old.fence + 1)])
    assert held == {mine.id}
    assert (await job_of(database, lost.id)).state == JobState.RUNNING


async def test_many_files_are_one_insert_with_their_tags(database: Database) -> None:
    files = [new_file(new_upload(1), new_id(), tags={"n": str(number)}) for number in range(3)]
    async with database.transaction() as repository:
        await repository.files.insert_all(files)
        await repository.files.insert_all([])
    lookups = Lookups(database)
    for file in files:
        found = await lookups.file(TENANT, file.id)
        assert found is not None
        assert found.tags == file.tags


async def test_a_look_up_gives_the_tenants_own_row_or_none(database: Database) -> None:
    await put(database, upload := new_upload(1), job := new_job(upload))
    lookups = Lookups(database)
    found = await lookups.upload(TENANT, upload.id)
    assert found is not None
    assert found.id == upload.id
    assert await lookups.upload("other", upload.id) is None
    assert await lookups.job("other", job.id) is None
    assert await lookups.job(TENANT, new_id()) is None
    assert await lookups.file(TENANT, upload.id) is None


async def test_a_row_that_somebody_holds_keeps_no_other_waiting(database: Database) -> None:
    held, free = new_upload(1), new_upload(1)
    sealed, held_too = new_upload(1, state=UploadState.FINALIZING), new_upload(1, state=UploadState.FINALIZING)
    await put(database, held, free, sealed, held_too)
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite locks no rows")
    async with database.reading() as stranger:
        rows = (held.id, held_too.id)
        await stranger.session.execute(select(Upload).where(Upload.id.in_(rows)).with_for_update())
        async with database.transaction() as repository:
            moved = await repository.uploads.start_all([start_of(held.id), start_of(free.id)], wait=False)
            keys = [(TENANT, sealed.id), (TENANT, held_too.id)]
            completed = await repository.uploads.complete_all(keys, wait=False)
    assert moved == {(TENANT, free.id)}
    assert completed == {(TENANT, sealed.id)}


async def test_of_many_aborts_those_happen_that_are_open(database: Database) -> None:
    opened, busy = new_upload(1), new_upload(1, state=UploadState.FINALIZING)
    await put(database, opened, busy)
    keys = [(TENANT, opened.id), (TENANT, busy.id), (TENANT, new_id())]
    async with database.transaction() as repository:
        assert await repository.uploads.abort_open(keys) == [opened.id]
    assert (await upload_of(database, opened.id)).state == UploadState.ABORTED
