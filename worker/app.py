"""One worker process: opens everything, runs the poll loops, heartbeat, sweep and health port, and stops in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop
from arq.connections import ArqRedis

from common.ahead import AheadNews
from common.attach import attach
from common.db.database import Database
from common.db.lookups import Lookups
from common.db.migrate import wait_until_served
from common.errors import SettingsError, SluiceError
from common.names import address_of
from common.queue import GROUP_TASK, TASK, Bell
from common.redis import open_redis
from common.settings import Settings
from common.signals import Signals
from common.states import JobKind
from common.storage import open_storage
from common.storage.base import HashesAhead
from common.tasks import cancelled
from common.telemetry import Metrics, configure_logging, get_logger
from common.tracing import NO_TRACER, Tracer, open_tracer
from common.vitals import begin, watch_loop, watch_pool
from worker.ahead import HashAhead
from worker.batch import ResultBatch
from worker.context import WorkerContext
from worker.examine import Examiner
from worker.finalize import Finalize
from worker.health import Health, health_app, health_server, open_port
from worker.lease import Leases
from worker.metadata import Metadata
from worker.polling import REDIS_FAULTS, PollLoop, Task
from worker.publish import Publisher
from worker.runner import Runner
from worker.scrub import Scrub
from worker.settling import Handler
from worker.smallfiles import SmallFiles
from worker.sweep import Sweep

log = get_logger(__name__)

REDIS_PATIENCE = 15.0  # seconds to wait at start for Redis: a wrong address shall be seen
DATABASE_PATIENCE = 60.0  # seconds to wait at start for a database whose schema serves us
REDIS_PAUSE = 2.0  # seconds between two looks at a Redis that is not there yet
GIVE_BACK_SECONDS = 3.0  # what cancelled jobs may take to go back to the queue
CLOSE_SECONDS = 1.0  # what each part may take to end


def run(settings: Settings, queues: tuple[str, ...] | None = None) -> int:
    """Run a worker until SIGTERM or SIGINT; the exit status. `queues` are job kinds (None: from the settings)."""
    configure_logging(settings.logs)
    kinds = [JobKind(name) for name in queues or settings.worker.worker_queues]
    try:
        listener = open_port(settings.worker)
    except SettingsError as error:
        log.error("worker.not_started", reason=error.detail)  # noqa: TRY400 - one line for the operator
        return 1
    tracer = open_tracer("sluice-worker")
    with listener, contextlib.closing(tracer), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(WorkerProcess(settings, kinds, listener, tracer).run())


@dataclass(slots=True)
class Parts:
    """What runs between start and stop."""

    leases: Leases
    runner: Runner
    sweep: Sweep
    scrub: Scrub
    loops: list[PollLoop]
    ahead: HashAhead | None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    polling: list[asyncio.Task[None]] = field(default_factory=list)

    def wake(self, kind: JobKind) -> None:
        """A bell of this kind was rung just now."""
        for loop in self.loops:
            if loop.kind == kind:
                loop.wake()


class WorkerProcess:
    """The life of one process, from signal handlers to exit status."""

    def __init__(
        self, settings: Settings, kinds: Sequence[JobKind], listener: socket.socket, tracer: Tracer = NO_TRACER
    ) -> None:
        self._settings = settings
        self._kinds = kinds
        self._listener = listener
        self._tracer = tracer
        self._metrics = Metrics()
        begin(self._metrics, "worker")
        self._health = Health(settings.worker)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> int:
        """Raises nothing that an operator would have to read as a traceback."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        server = health_server(health_app(self._health, self._metrics))
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        try:
            return await self._with_database()
        finally:
            server.should_exit = True
            await _ended([serving], CLOSE_SECONDS)

    def _on_signal(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def _with_database(self) -> int:
        shape = self._settings.database
        database = Database(shape, "sluice-worker", pool_size=shape.worker_pool_size)
        watch_pool(self._metrics, database)
        try:
            if not await self._wait_for_schema(database):
                return 0 if self._stop.is_set() else 1
            return await self._with_connections(database)
        finally:
            await database.close()

    async def _wait_for_schema(self, database: Database) -> bool:
        reason = await wait_until_served(
            database,
            self._settings.database.database_url,
            DATABASE_PATIENCE,
            stop=self._stop,
            waiting=lambda reason: log.warning("worker.waiting", reason=reason),
        )
        if reason and not self._stop.is_set():
            log.error("worker.not_started", reason=reason)
        return not (reason or self._stop.is_set())

    async def _with_connections(self, database: Database) -> int:
        storage = open_storage(self._settings.storage)
        redis = open_redis(self._settings.redis, patient=True)
        context = WorkerContext(
            settings=self._settings,
            database=database,
            lookups=Lookups(database),
            storage=storage,
            bell=Bell(redis, self._settings.redis, self._metrics),
            signals=Signals(redis, self._settings.redis),
            metrics=self._metrics,
            tracer=self._tracer,
        )
        try:
            try:
                await attach(database, storage)
            except SluiceError as error:
                log.error("worker.not_started", reason=error.detail)  # noqa: TRY400 - one line for the operator
                return 1
            if not await self._wait_for_redis(redis):
                return 0 if self._stop.is_set() else 1
            return await self._work(context, redis)
        finally:
            await self._health.close(CLOSE_SECONDS)
            await storage.close()
            with contextlib.suppress(*REDIS_FAULTS):
                await redis.aclose()

    async def _wait_for_redis(self, redis: ArqRedis) -> bool:
        deadline = time.monotonic() + REDIS_PATIENCE
        reason, told = f"no answer from {address_of(self._settings.redis.redis_url)} (SLUICE_REDIS_URL)", False
        while not self._stop.is_set():
            try:
                await redis.ping()
                return True
            except REDIS_FAULTS:
                if not told:
                    log.warning("worker.waiting", reason=reason)
                told = True
                if time.monotonic() > deadline:
                    log.error("worker.not_started", reason=reason)  # noqa: TRY400 - one line
                    return False
            await _within(self._stop, REDIS_PAUSE)
        return False

    async def _work(self, context: WorkerContext, redis: ArqRedis) -> int:
        parts = assemble(context, self._kinds, redis)
        self._health.watch(
            {loop.kind: loop for loop in parts.loops},
            parts.leases,
            {"database": context.database.ping, "redis": redis.ping, "storage": context.storage.check_writable},
        )
        parts.tasks = [
            asyncio.create_task(parts.leases.keep()),
            asyncio.create_task(parts.sweep.run()),
            asyncio.create_task(parts.scrub.run()),
            asyncio.create_task(context.bell.listen(parts.wake)),
            asyncio.create_task(watch_loop(context.metrics)),
        ]
        if parts.ahead is not None:
            parts.tasks.append(asyncio.create_task(parts.ahead.run(parts.runner.run_here)))
        parts.polling = [asyncio.create_task(loop.async_run()) for loop in parts.loops]
        self._health.phase = "running"
        log.info("worker.started", owner=parts.leases.owner, queues=list(map(str, self._kinds)))
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopped, *parts.tasks, *parts.polling}, return_when=asyncio.FIRST_COMPLETED)
        broken = _first_error([*parts.polling, *parts.tasks])
        if broken is not None:
            log.error("worker.broken", exc_info=broken)
        await self._wind_down(parts)
        stopped.cancel()
        return 0 if broken is None else 1

    async def _wind_down(self, parts: Parts) -> None:
        """Take nothing new, let running jobs end, give the rest back, then end the loops."""
        self._health.phase = "draining"
        parts.runner.stop()
        for loop in parts.loops:
            loop.allow_pick_jobs = False
        drained = asyncio.create_task(parts.runner.drain(self._settings.worker.worker_drain_seconds))
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({drained, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not (drained.done() and drained.result()):
            drained.cancel()
            parts.runner.give_back()
            if not await parts.runner.drain(GIVE_BACK_SECONDS):
                log.warning("worker.jobs_left_behind")  # their leases run out and the sweep of another worker comes
        arq_tasks = [task for loop in parts.loops for task in loop.tasks.values()]
        await asyncio.wait(arq_tasks, timeout=CLOSE_SECONDS) if arq_tasks else None
        await cancelled([*parts.tasks, *parts.polling, *arq_tasks], CLOSE_SECONDS)
        log.info("worker.stopped", drained=drained.done() and not drained.cancelled() and drained.result())


def assemble(
    context: WorkerContext,
    kinds: Sequence[JobKind],
    redis: ArqRedis,
    *,
    burst: bool = False,
    describe_along: bool = True,
) -> Parts:
    """Put the parts of a worker together; nothing runs yet. `burst`: the poll loops end when their queue is empty.
    `describe_along`: small files get their attributes with their finalize where this worker may do both."""
    settings = context.settings.worker
    leases = Leases(context.database, settings)
    ahead = _hash_ahead(context, redis, leases.owner) if JobKind.FINALIZE in kinds else None
    examiner = Examiner(context.storage, context.signals)
    along = examiner if describe_along and JobKind.METADATA in kinds else None
    publisher = Publisher(context.database, context.bell)
    handlers: dict[JobKind, Handler] = {
        JobKind.FINALIZE: Finalize(context, leases, publisher, ahead, along),
        JobKind.METADATA: Metadata(context, examiner, ResultBatch(context.database, context.metrics)),
    }
    runner = Runner(context, leases, handlers, SmallFiles(context, leases, publisher, along))
    tasks: dict[str, Task] = {TASK: runner.run_job, GROUP_TASK: runner.run_jobs}
    loops = [PollLoop(context.settings, kind, redis, tasks, burst=burst) for kind in kinds]
    return Parts(leases, runner, Sweep(context), Scrub(context), loops, ahead)


def _hash_ahead(context: WorkerContext, redis: ArqRedis, owner: str) -> HashAhead | None:
    """None where files are not hashed, or the storage cannot read what is not sealed."""
    settings, storage = context.settings, context.storage
    if settings.storage.verify != "read" or not isinstance(storage, HashesAhead):
        return None
    return HashAhead(storage, context.lookups, AheadNews(redis, settings.redis), owner=owner)


def _first_error(tasks: Sequence[asyncio.Task[None]]) -> BaseException | None:
    return next((task.exception() for task in tasks if task.done() and not task.cancelled()), None)


async def _within(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _ended(tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Wait for tasks that were told to end; what they raise is of no use to anybody any more."""
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=seconds)
        for task in done:
            if not task.cancelled():
                task.exception()
