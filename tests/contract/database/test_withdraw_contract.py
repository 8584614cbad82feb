"""Rows of small files whose bytes could not be stored are withdrawn, unless a worker has begun."""

from sqlalchemy import select

from common.db.database import Database
from common.db.models import Job, Upload
from common.states import JobState, UploadState
from tests.contract.database.rows import claimed, put, queued
from tests.integration.worker.rig import new_upload


async def ids(database: Database, table: type[Job] | type[Upload]) -> set[str]:
    async with database.reading() as repository:
        return set(await repository.session.scalars(select(table.id)))


async def test_only_jobs_that_nobody_has_begun_are_withdrawn(database: Database) -> None:
    waiting, other = await queued(database), await queued(database)
    running, _ = await claimed(database)
    tried, ended = await queued(database, attempts=1), await queued(database, state=JobState.FAILED)
    asked = [waiting.id, running.id, tried.id, ended.id]
    async with database.transaction() as repository:
        assert await repository.jobs.withdraw(asked) == {waiting.id}
    assert await ids(database, Job) == {other.id, running.id, tried.id, ended.id}


async def test_only_uploads_that_are_finalizing_are_withdrawn(database: Database) -> None:
    states = (UploadState.FINALIZING, UploadState.COMPLETE, UploadState.OPEN)
    uploads = [new_upload(1, state=state) for state in states]
    await put(database, *uploads, other := new_upload(1, state=UploadState.FINALIZING))
    async with database.transaction() as repository:
        await repository.uploads.withdraw([upload.id for upload in uploads])
    assert await ids(database, Upload) == {uploads[1].id, uploads[2].id, other.id}


async def test_none_is_none(database: Database) -> None:
    job = await queued(database)
    async with database.transaction() as repository:
        assert await repository.jobs.withdraw([]) == set()
        await repository.uploads.withdraw([])
    assert await ids(database, Job) == {job.id}
