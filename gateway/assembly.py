"""Everything that one gateway process holds, made at start-up and passed on; nothing is a module global."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from common.ahead import AheadNews
from common.appending import AppendLeases
from common.attach import attach
from common.db.database import Database
from common.db.lookups import Lookups
from common.errors import AppendInterrupted, SluiceError
from common.probes import Probes
from common.queue import Bell
from common.redis import open_redis
from common.settings import LimitsSettings, Settings
from common.signals import Signals
from common.storage import open_storage
from common.storage.base import Identifies, Storage
from common.tasks import cancelled
from common.telemetry import Metrics, get_logger
from common.tracing import NO_TRACER, Tracer
from common.vitals import watch_loop, watch_pool
from gateway.intake import IntakeMemory
from gateway.locations import Locations
from gateway.service.appends import AppendService
from gateway.service.assembling import Assembling
from gateway.service.chunks import ChunkService
from gateway.service.concatenations import ConcatenationService
from gateway.service.direct import DirectService
from gateway.service.facts import FactsCache
from gateway.service.files import FileService
from gateway.service.finalize import FinalizeService
from gateway.service.herald import Herald
from gateway.service.ingest import IngestService
from gateway.service.jobs import STOP_SECONDS, JobService, Waiters
from gateway.service.limits import fitted
from gateway.service.parts import PartService
from gateway.service.streams import StreamService
from gateway.service.turns import Turns
from gateway.service.uploads import UploadService
from gateway.service.wholes import WholeService

log = get_logger(__name__)

ATTACH_PAUSE = 0.5  # seconds between two tries while the database or the storage is away


@dataclass(slots=True)
class Services:
    """The use cases and what the probes look at. `draining` turns readiness off before connections are closed."""

    settings: Settings
    limits: LimitsSettings
    locations: Locations
    metrics: Metrics
    database: Database
    storage: Storage
    probes: Probes
    waiters: Waiters
    uploads: UploadService
    chunks: ChunkService
    finalizing: FinalizeService
    ingest: IngestService
    direct: DirectService
    parts: PartService
    jobs: JobService
    files: FileService
    turns: Turns
    streams: StreamService
    appends: AppendService
    concatenations: ConcatenationService
    draining: bool = False

    def leave(self) -> None:
        """Not ready any more; everything is served all the same."""
        self.draining = True

    def drain(self) -> None:
        """Waiting polls are answered at once, and none waits any more. Appends may last for hours: those that do not
        come to their end in half of the time are ended, so that what they brought is stored in the other half."""
        self.waiters.release()
        ending = AppendInterrupted(
            "This server is shutting down; what arrived is kept, go on from there.", retry_after=1
        )
        half = self.settings.http.drain_seconds / 2
        asyncio.get_running_loop().call_later(half, self.turns.interrupt_all, ending)


@asynccontextmanager
async def open_services(
    settings: Settings, metrics: Metrics, memory: IntakeMemory, tracer: Tracer = NO_TRACER
) -> AsyncIterator[Services]:
    """Open all dependencies; close them in reverse order, the database last. None has to be reachable yet."""
    async with AsyncExitStack() as stack:
        database = Database(settings.database, "sluice-gateway")
        stack.push_async_callback(database.close)
        watch_pool(metrics, database)
        stack.push_async_callback(
            cancelled, [asyncio.create_task(watch_loop(metrics), name="watch-loop")], STOP_SECONDS
        )
        storage = open_storage(settings.storage)
        stack.push_async_callback(storage.close)
        probes = _probes(stack, database, storage)
        _beside(stack, _attach(database, storage), "attach")
        redis = open_redis(settings.redis)
        stack.push_async_callback(redis.aclose)
        bell = Bell(redis, settings.redis, metrics)
        signals = Signals(redis, settings.redis)
        turns = Turns(AppendLeases(redis, settings.redis))
        turns.start(signals)
        stack.push_async_callback(turns.stop)
        waiters = Waiters(database, signals, settings.http.max_waiting_polls)
        metrics.polls_waiting.set_function(lambda: waiters.held)
        waiters.start()
        stack.push_async_callback(waiters.stop)
        metrics.intake_bytes.set_function(lambda: memory.held + memory.unread)
        facts = FactsCache()
        lookups = Lookups(database)
        limits = fitted(settings.limits, storage.chunk_limits)
        direct = settings.storage.s3_companion_direct
        herald = Herald(AheadNews(redis, settings.redis), storage, settings.storage)
        stack.push_async_callback(herald.close)
        uploads = UploadService(limits, database, lookups, storage, facts, herald)
        finalizing = FinalizeService(uploads, database, lookups, bell, facts, herald, tracer)
        assembling = Assembling(limits, finalizing, database, storage)
        wholes = WholeService(database, storage, bell, tracer)
        streams = StreamService(limits, uploads, finalizing, database, storage, turns, assembling)
        yield Services(
            settings=settings,
            limits=limits,
            locations=Locations(settings.http),
            metrics=metrics,
            database=database,
            storage=storage,
            probes=probes,
            waiters=waiters,
            uploads=uploads,
            chunks=ChunkService(uploads, storage, facts, memory, metrics),
            finalizing=finalizing,
            ingest=IngestService(limits, uploads, finalizing, wholes, storage, memory, metrics),
            direct=DirectService(uploads, storage, settings.storage.s3_link_seconds),
            parts=PartService(limits, uploads, finalizing, database, storage, memory, metrics, direct=direct),
            jobs=JobService(database, lookups, bell, signals, waiters, settings.http.max_wait),
            files=FileService(limits, database, storage, metrics, accel=settings.http.accel_redirect),
            turns=turns,
            streams=streams,
            concatenations=ConcatenationService(limits, uploads, streams, database, storage),
            appends=AppendService(limits, streams, turns, herald, memory, metrics),
        )


def _beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    """Run it until the stack is closed."""
    stack.push_async_callback(cancelled, [asyncio.create_task(work, name=name)], STOP_SECONDS)


def _probes(stack: AsyncExitStack, database: Database, storage: Storage) -> Probes:
    probes = Probes({"storage": storage.check_writable, "database": database.ping})
    stack.push_async_callback(probes.close, STOP_SECONDS)
    return probes


async def _attach(database: Database, storage: Identifies) -> None:
    """Until it has succeeded once nothing is lost: without the database no upload is known to this process."""
    told = False
    while True:
        try:
            await attach(database, storage)
            return
        except SluiceError as error:
            if not told:
                log.warning("gateway.waiting", code=error.code, detail=error.detail)
            told = True
        await asyncio.sleep(ATTACH_PAUSE)
