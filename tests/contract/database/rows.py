"""Rows for the tests of the statements."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from common.db.database import Database
from common.db.jobs import Lease
from common.db.models import Job, Upload
from tests.integration.worker.rig import TENANT, lease_of, new_job, new_upload

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)
LATE = datetime.now(UTC) - timedelta(seconds=60)


async def put(database: Database, *rows: Any) -> None:
    async with database.transaction() as repository:
        repository.session.add_all(rows)


async def queued(database: Database, **columns: Any) -> Job:
    job = new_job(new_upload(10), **columns)
    await put(database, job)
    return job


async def claimed(database: Database, **columns: Any) -> tuple[Job, Lease]:
    job = await queued(database, **columns)
    async with database.transaction() as repository:
        (taken,) = await repository.jobs.claim([job.id], "me", 15)
    return taken, lease_of(taken)


async def job_of(database: Database, job_id: str) -> Job:
    async with database.reading() as repository:
        found = await repository.jobs.get(TENANT, job_id)
    assert found is not None
    return found


async def upload_of(database: Database, upload_id: str) -> Upload:
    async with database.reading() as repository:
        found = await repository.uploads.get(TENANT, upload_id)
    assert found is not None
    return found
