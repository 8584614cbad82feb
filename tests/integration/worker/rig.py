"""A worker on real parts, driven by hand: put uploads in, ring, run the queues until they are empty, look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from arq.connections import ArqRedis
from awscrt.checksums import crc64nvme
from sqlalchemy import update

from common.db.clock import db_now
from common.db.database import Database
from common.db.jobs import Lease
from common.db.lookups import Lookups
from common.db.models import File, Job, Upload
from common.digests import Crc64
from common.ids import new_id
from common.queue import Bell, Ring
from common.redis import open_redis
from common.settings import Settings, load_settings
from common.signals import Signals
from common.states import FileState, JobKind, JobState, UploadState
from common.storage import Storage, open_storage
from common.storage.base import Segment, UploadKey, Whole
from common.telemetry import Metrics
from common.tracing import NO_TRACER, Tracer
from tests.contract.storage_parts import beginning
from worker.app import Parts, assemble
from worker.context import WorkerContext

TENANT = "default"
CHUNK = 1000


class Body:
    """The source of one write, from bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.length, self.crc64, self.read_ahead = data, 0, 0, True

    async def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
        crc = Crc64()
        crc.update(self.data)
        self.length, self.crc64 = len(self.data), crc.value
        yield [self.data]


@dataclass
class Rig:
    """One worker that does nothing by itself. `parts` is its inside; `second()` gives another worker."""

    settings: Settings
    database: Database
    storage: Storage
    redis: ArqRedis
    metrics: Metrics = field(default_factory=Metrics)
    tracer: Tracer = NO_TRACER
    describe_along: bool = False  # most tests look at the two jobs one after the other
    parts: Parts = field(init=False)

    def __post_init__(self) -> None:
        kinds = list(JobKind)
        self.parts = assemble(self.context, kinds, self.redis, burst=True, describe_along=self.describe_along)

    @property
    def context(self) -> WorkerContext:
        bell = Bell(self.redis, self.settings.redis, self.metrics)
        signals = Signals(self.redis, self.settings.redis)
        lookups = Lookups(self.database)
        return WorkerContext(
            self.settings, self.database, lookups, self.storage, bell, signals, self.metrics, self.tracer
        )

    def second(self, storage: Storage | None = None) -> Rig:
        """Another worker over the same database, storage and queue, with metrics of its own."""
        return Rig(self.settings, self.database, storage or self.storage, self.redis, tracer=self.tracer)

    # --- what the gateway would do ----------------------------------------------------------------------------

    async def upload(self, content: bytes, **columns: Any) -> Upload:
        """An open upload all of whose chunks are stored."""
        upload = new_upload(len(content), **columns)
        key = UploadKey(TENANT, upload.id)
        async with self.database.transaction() as repository:
            await repository.uploads.insert(upload)
        await self.storage.begin(*beginning(key, len(content)))
        for start in range(0, len(content), upload.chunk_size):
            piece = content[start : start + upload.chunk_size]
            await self.storage.write(key, Segment(start, len(piece)), Body(piece))
        return upload

    async def finalize(self, upload: Upload, *, ring: bool = True) -> Job:
        """What `POST /finalize` leaves: the upload finalizing, the job queued, the bell rung."""
        async with self.database.transaction() as repository:
            fresh = await repository.uploads.get(TENANT, upload.id)
            assert fresh is not None
            job = new_job(fresh, JobKind.FINALIZE)
            await repository.uploads.move(
                TENANT, upload.id, UploadState.OPEN, UploadState.FINALIZING, job_id=job.id, file_id=job.file_id
            )
            await repository.jobs.insert(job)
        if ring:
            await self.ring(job)
        return await self.job(job.id)

    async def whole(self, content: bytes, *, trace_context: str | None = None, **columns: Any) -> Job:
        """What a small file in one request leaves: the upload finalizing, one file, the job queued; nothing is rung."""
        crc64 = crc64nvme(content)
        upload = new_upload(len(content), state=UploadState.FINALIZING, whole_crc64=f"{crc64:016x}", **columns)
        job = new_job(upload, JobKind.FINALIZE, trace_context=trace_context)
        upload.job_id, upload.file_id = job.id, job.file_id
        async with self.database.transaction() as repository:
            await repository.uploads.insert(upload)
            await repository.jobs.insert(job)
        whole = Whole(*beginning(UploadKey(TENANT, upload.id), len(content)), [content], crc64)
        assert await self.storage.put([whole]) == [whole.receipt]
        return await self.job(job.id)

    async def ring(self, job: Job) -> None:
        await self.context.bell.ring(Ring(job.id, JobKind(job.kind), job.epoch))

    # --- running ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run both queues until they are empty; a finalize may fill the second."""
        for loop in self.parts.loops:
            await loop.async_run()

    async def published(self, content: bytes, **columns: Any) -> File:
        """A file that went through finalize but not yet through metadata."""
        upload = await self.upload(content, **columns)
        await self.finalize(upload)
        await self.parts.loops[0].async_run()
        fresh = await self.get_upload(upload.id)
        assert fresh.file_id is not None
        return await self.file(fresh.file_id)

    # --- looking ----------------------------------------------------------------------------------------------

    async def job(self, job_id: str) -> Job:
        async with self.database.reading() as repository:
            found = await repository.jobs.get(TENANT, job_id)
        assert found is not None
        return found

    async def jobs(self, kind: JobKind | None = None) -> list[Job]:
        async with self.database.reading() as repository:
            return (await repository.jobs.page(TENANT, state=None, kind=kind, cursor=None, limit=1000)).items

    async def get_upload(self, upload_id: str) -> Upload:
        async with self.database.reading() as repository:
            found = await repository.uploads.get(TENANT, upload_id)
        assert found is not None
        return found

    async def file(self, file_id: str) -> File:
        async with self.database.reading() as repository:
            found = await repository.files.get(TENANT, file_id)
        assert found is not None
        return found

    async def shift(self, job_id: str, seconds: float, *columns: str) -> None:
        """Move instants of a job row: the clock is the database's, so a test moves the row instead."""
        values = dict.fromkeys(columns, db_now(seconds))
        async with self.database.transaction() as repository:
            await repository.session.execute(update(Job).where(Job.id == job_id).values(**values))

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"sluice_{name}", labels) or 0.0


def new_upload(size: int | None, **columns: Any) -> Upload:
    now = datetime.now(UTC)
    defaults: dict[str, Any] = {
        "id": new_id(),
        "tenant": TENANT,
        "state": UploadState.OPEN,
        "filename": "a.txt",
        "size": size,
        "chunk_size": CHUNK,
        "meta": {"from": "test"},
        "tags": {"colour": "red"},
        "digests": {},
        "created_at": now,
        "expires_at": now + timedelta(hours=1),
    }
    return Upload(**{**defaults, **columns})


def new_job(upload: Upload, kind: JobKind = JobKind.FINALIZE, **columns: Any) -> Job:
    now = datetime.now(UTC) - timedelta(seconds=0.1)
    defaults: dict[str, Any] = {
        "id": new_id(),
        "tenant": upload.tenant,
        "kind": kind,
        "state": JobState.QUEUED,
        "upload_id": upload.id,
        "file_id": new_id(),
        "round": upload.round or 0,
        "size": upload.size or 0,
        "attempts": 0,
        "epoch": 0,
        "fence": 0,
        "next_attempt_at": now,
        "rung_at": now,
        "created_at": now,
        "request_id": "req-1",
    }
    return Job(**{**defaults, **columns})


def new_file(upload: Upload, file_id: str, **columns: Any) -> File:
    defaults: dict[str, Any] = {
        "id": file_id,
        "tenant": upload.tenant,
        "upload_id": upload.id,
        "state": FileState.READY,
        "filename": upload.filename,
        "size": upload.size or 0,
        "content_type": "text/plain",
        "digests": {},
        "verified": "read",
        "meta": {},
        "tags": dict(upload.tags),
        "created_at": datetime.now(UTC),
    }
    return File(**{**defaults, **columns})


def lease_of(job: Job) -> Lease:
    assert job.lease_owner is not None
    return Lease(job.id, job.lease_owner, job.fence)


def worker_settings(database_url: str, redis_url: str, folder: Path, **variables: str) -> Settings:
    """Settings of a fast worker: what takes seconds in production takes moments here."""
    return load_settings(environ=worker_environment(database_url, redis_url, folder, **variables))


def worker_environment(database_url: str, redis_url: str, folder: Path, **variables: str) -> dict[str, str]:
    defaults = {
        "DATABASE_URL": database_url,
        "DATABASE_TIMEOUT": "10",
        "REDIS_URL": redis_url,
        "STORAGE_URL": (folder / "storage").as_uri(),
        "MIN_FREE_BYTES": "0",
        "POLL_DELAY": "0.02",
        "HEALTH_PORT": "0",
        "LOG_LEVEL": "info",
    }
    return {f"SLUICE_{name}": value for name, value in {**defaults, **variables}.items()}


async def open_rig(settings: Settings, tracer: Tracer = NO_TRACER) -> Rig:
    database = Database(settings.database)
    storage, redis = open_storage(settings.storage), open_redis(settings.redis)
    return Rig(settings, database, storage, redis, tracer=tracer)


async def close_rig(rig: Rig) -> None:
    await rig.storage.close()
    await rig.redis.aclose()
    await rig.database.close()


def with_settings(settings: Settings, **worker: Any) -> Settings:
    return replace(settings, worker=settings.worker.model_copy(update=worker))


async def until(condition: Any, seconds: float = 60.0) -> None:
    """Ask an async condition again and again: for what another process does and tells nobody."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
