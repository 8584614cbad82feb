"""What has to hold when the faults are over: everything accepted is ready and right, and nothing else is left."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from common.db.database import Database
from common.db.models import File, Job, Upload
from common.errors import DatabaseUnavailable
from common.settings import DatabaseSettings
from common.states import FileState, JobKind, JobState, UploadState
from common.storage.identity import MARK
from tests.faults.chaos.crowd import Accepted

POLL = 0.1
LIVE_JOBS = {JobState.QUEUED, JobState.RUNNING}
MOST_TIMES = 3  # a download is tried again that the last restart cut off


@dataclass
class Verdict:
    """Empty lists are good."""

    stuck: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    checked: int = 0

    @property
    def good(self) -> bool:
        return not (self.stuck or self.failed or self.altered or self.doubled or self.orphans)


class Books:
    """The rows, as the service keeps them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rows(self, table: type[Any], *conditions: Any) -> list[Any]:
        async with self._database.reading() as repository:
            return list(await repository.session.scalars(select(table).where(*conditions)))

    async def unfinished(self, job_ids: Iterable[str] | None = None) -> list[Job]:
        """Jobs that have not ended, of all or of these and what follows from them."""
        live = await self.rows(Job, Job.state.in_([str(state) for state in LIVE_JOBS]))
        if job_ids is None:
            return live
        of_these = set(job_ids)
        uploads = {job.upload_id for job in await self.rows(Job) if job.id in of_these}
        return [job for job in live if job.upload_id in uploads]

    async def lease_owners(self) -> set[int | None]:
        """Process ids of the workers that run a job now; empty while the database does not answer."""
        try:
            running = await self.rows(Job, Job.state == JobState.RUNNING)
        except DatabaseUnavailable:
            return set()
        return {int(job.lease_owner.split(":")[1]) for job in running if job.lease_owner}

    async def until_finished(self, within: float, job_ids: Iterable[str] | None = None) -> float:
        """Seconds until no such job is unfinished; fails after `within`, naming them."""
        began = time.monotonic()
        chosen = None if job_ids is None else list(job_ids)
        while left := await self.unfinished(chosen):
            waited = time.monotonic() - began
            assert waited < within, [describe(job) for job in left]
            await asyncio.sleep(POLL)
        return time.monotonic() - began

    async def until_cleaned(self, within: float) -> None:
        """Wait until the sweep has expired what is still open, and cleaned what has ended."""
        deadline = time.monotonic() + within
        while left := await self._unclean():
            assert time.monotonic() < deadline, left
            await asyncio.sleep(POLL)

    async def _unclean(self) -> list[str]:
        uploads = await self.rows(Upload)
        return [f"{upload.id} {upload.state}" for upload in uploads if not upload.cleaned]


@asynccontextmanager
async def books(url: str) -> AsyncIterator[Books]:
    settings = DatabaseSettings.model_validate({"database_url": url, "database_timeout": 10})
    database = Database(settings, "chaos")
    try:
        yield Books(database)
    finally:
        await database.close()


async def judge(books: Books, http: httpx.AsyncClient, storage: Path, accepted: list[Accepted]) -> Verdict:
    """Compare what the clients were told with rows, bytes and folders."""
    verdict = Verdict()
    jobs: dict[str, Job] = {job.id: job for job in await books.rows(Job)}
    files: dict[str, File] = {file.id: file for file in await books.rows(File)}
    verdict.stuck = [describe(job) for job in jobs.values() if job.state in LIVE_JOBS]
    verdict.failed = [describe(job) for job in jobs.values() if job.state not in LIVE_JOBS | {JobState.SUCCEEDED}]
    await _read_all(http, accepted, jobs, files, verdict)
    _count_records(jobs, files, verdict)
    _look_for_orphans(await books.rows(Upload), files, storage, verdict)
    return verdict


async def _read_all(
    http: httpx.AsyncClient, accepted: list[Accepted], jobs: dict[str, Job], files: dict[str, File], verdict: Verdict
) -> None:
    for entry in accepted:
        job = jobs.get(entry.job_id)
        file = files.get(job.file_id or "") if job is not None else None
        if file is None or file.state != FileState.READY:
            verdict.failed.append(f"{entry.job_id}: accepted, but there is no ready file")
        elif await _sha256(http, file.id) != entry.sha256 or file.size != entry.size:
            verdict.altered.append(f"{file.id}: {entry.size} bytes were sent")
        verdict.checked += 1


async def _sha256(http: httpx.AsyncClient, file_id: str) -> str:
    for tried in range(1, MOST_TIMES + 1):
        digest = hashlib.sha256()
        try:
            async with http.stream("GET", f"/v1/files/{file_id}/content") as answer:
                assert answer.status_code == httpx.codes.OK, f"{file_id}: {answer.status_code}"
                async for piece in answer.aiter_bytes():
                    digest.update(piece)
            return digest.hexdigest()
        except httpx.HTTPError:
            if tried == MOST_TIMES:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def _count_records(jobs: dict[str, Job], files: dict[str, File], verdict: Verdict) -> None:
    """One file for each upload, one metadata record for each file."""
    uploads = Counter(file.upload_id for file in files.values())
    verdict.doubled += [f"upload {upload}: {count} files" for upload, count in uploads.items() if count != 1]
    records = Counter(job.file_id for job in jobs.values() if job.kind == JobKind.METADATA)
    for file in files.values():
        if records[file.id] != 1 or file.attributes is None:
            verdict.doubled.append(f"file {file.id}: {records[file.id]} metadata jobs, attributes {file.attributes}")


def _look_for_orphans(uploads: list[Upload], files: dict[str, File], storage: Path, verdict: Verdict) -> None:
    """Rows in states that lead nowhere, and every name in the storage that no row explains."""
    ended = {UploadState.COMPLETE, UploadState.EXPIRED, UploadState.ABORTED}
    verdict.orphans += [f"upload {upload.id} is {upload.state}" for upload in uploads if upload.state not in ended]
    complete = {upload.file_id for upload in uploads if upload.state == UploadState.COMPLETE}
    verdict.orphans += [f"file {file_id} has no upload" for file_id in files.keys() - complete]
    expected = {storage / file.tenant / "files" / file.id[-2:] / file.id for file in files.values()}
    expected |= {storage / MARK} if (storage / MARK).exists() else set()
    found = {path for path in storage.rglob("*") if not path.is_dir()}
    verdict.orphans += [str(path.relative_to(storage)) for path in found ^ expected]
    verdict.orphans += [str(path.relative_to(storage)) for path in storage.glob("*/uploads/*")]


def describe(job: Job) -> str:
    return f"{job.kind} {job.id} {job.state}, attempts {job.attempts}, {job.error_code}: {job.error_detail}"
