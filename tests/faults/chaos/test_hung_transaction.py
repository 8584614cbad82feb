"""A process that hangs inside a transaction (stopped, or on a machine that was cut off) keeps its row locks."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from sqlalchemy import update

from common.db.database import Database
from common.db.models import Job, Upload
from common.errors import DatabaseUnavailable
from common.settings import DatabaseSettings
from common.states import JobKind, JobState
from tests.fixtures.faults import FaultReport, FaultRow
from tests.integration.worker.rig import new_job, new_upload

TIMEOUT = 0.5  # seconds
MOST_ATTEMPTS = 10


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    settings = DatabaseSettings.model_validate({"database_url": database_url, "database_timeout": TIMEOUT})
    opened = Database(settings)
    yield opened
    await opened.close()


async def _lost_job(database: Database) -> Job:
    upload: Upload = new_upload(0)
    job = new_job(upload, JobKind.FINALIZE, state=JobState.RUNNING, lease_owner="hung")
    job.lease_until = job.created_at
    async with database.transaction() as repository:
        await repository.uploads.insert(upload)
        await repository.jobs.insert(job)
    return job


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer: it waits in line
async def test_its_rows_are_free_again_after_a_moment(database: Database, faults: FaultReport) -> None:
    job = await _lost_job(database)
    async with database.engine.connect() as hung:
        await hung.execute(update(Job).where(Job.id == job.id).values(epoch=1))
        began = time.monotonic()
        async with asyncio.timeout(10):
            while True:
                with suppress(DatabaseUnavailable):  # on a busy machine; a sweep tries again, too
                    async with database.transaction() as repository:
                        if await repository.jobs.take_back_lost(MOST_ATTEMPTS, 10):
                            break
                await asyncio.sleep(0.05)
        waited = time.monotonic() - began
        await hung.invalidate()
    assert waited < TIMEOUT + 3
    faults.note(FaultRow("worker hung inside a transaction (PostgreSQL)", points=1, longest_recovery=waited))
