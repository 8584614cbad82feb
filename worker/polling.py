"""The ARQ side of the doorbell: one poll loop for each queue, all in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.worker import Worker, func
from redis.exceptions import RedisError

from common.queue import queue_name
from common.redis import from_json, to_json
from common.settings import Settings
from common.states import JobKind
from common.telemetry import get_logger

log = get_logger(__name__)

LOOK_AT_ONCE = 100  # ids whose state is asked for in one round trip
READ_LIMIT = 1000  # ids that one look at the queue reads; running ones count, so it bounds the whole fleet
ARQ_TIMEOUT = 24 * 3600  # seconds; a timeout of ARQ is final, so ours (`runner.time_limit`) has to come first
ARQ_TRIES = 1_000_000  # attempts are counted in the job row
REDIS_PAUSE = 0.5  # seconds from a look that failed to the next
LOOK_SECONDS = 600.0  # a look at a Redis that hangs ends before, by the timeouts of each try on each connection
TICK_SECONDS = 1.0
REDIS_FAULTS = (RedisError, OSError)
NEVER = 365 * 24 * 3600  # seconds

Task = Callable[..., Coroutine[Any, Any, None]]


class PollLoop(Worker):
    """ARQ's worker for one queue. It looks again as soon as a slot is free while more is waiting."""

    def __init__(
        self, settings: Settings, kind: JobKind, redis: ArqRedis, tasks: Mapping[str, Task], *, burst: bool = False
    ) -> None:
        """`tasks` by the names under which a ring asks for them."""
        super().__init__(
            functions=[func(task, name=name, timeout=ARQ_TIMEOUT, max_tries=ARQ_TRIES) for name, task in tasks.items()],
            queue_name=queue_name(settings.redis, kind),
            redis_pool=redis,
            handle_signals=False,
            max_jobs=settings.worker.worker_slots,
            queue_read_limit=max(READ_LIMIT, 2 * settings.worker.worker_slots),
            poll_delay=0,  # the pause is made below, where it can be cut short
            keep_result=0,
            health_check_interval=NEVER,
            job_serializer=to_json,
            job_deserializer=from_json,
            log_results=False,
            burst=burst,
        )
        self.kind = kind
        self.ticked_at = time.monotonic()
        self._away = False
        self._pause = settings.worker.poll_delay
        self._crowded = False
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    async def heart_beat(self) -> None:
        """In place of ARQ's: its health key is shared by all workers of a queue, and cron is not used."""
        self.ticked_at = time.monotonic()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start what nobody runs. ARQ leaves running ids at the head of the queue and would ask for each of them."""
        others = [job_id for job_id in job_ids if job_id.decode() not in self.tasks]
        for start in range(0, len(others), LOOK_AT_ONCE):
            some = others[start : start + LOOK_AT_ONCE]
            taken = await self.pool.mget([in_progress_key_prefix.encode() + job_id for job_id in some])
            await self._start([job_id for job_id, mark in zip(some, taken, strict=True) if mark is None])
            if self.job_counter >= self.max_jobs:
                return
        self._crowded = False

    async def _start(self, job_ids: list[bytes]) -> None:
        try:
            await super().start_jobs(job_ids)
        except REDIS_FAULTS:
            # ARQ expects to die of this and leaves the slot of the ring in question taken
            await asyncio.sleep(0)  # the callbacks of ended tasks give theirs back first
            running = sum(not task.done() for task in self.tasks.values())
            for _ in range(self.job_counter - running):
                self._release_sem_dec_counter_on_complete()
            raise

    async def _poll_iteration(self) -> None:
        """One look, then a pause. A Redis that is away is asked for ever: what runs goes on, and so does this loop."""
        self._wake.clear()
        self._crowded = True  # until the look has reached the end of the queue: a slot freed meanwhile needs another
        try:
            await self._ticking(super()._poll_iteration())
            self._note_away(None)
        except REDIS_FAULTS as error:
            self._note_away(error)
            await asyncio.sleep(REDIS_PAUSE)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause):
                await self._wake.wait()

    async def _ticking(self, look: Coroutine[Any, Any, None]) -> None:
        """Wait for a look; a Redis that hangs does not make this loop one that hangs."""
        ticker = asyncio.create_task(self._tick())
        try:
            await look
        finally:
            ticker.cancel()

    async def _tick(self) -> None:
        deadline = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < deadline:
            await self.heart_beat()
            await asyncio.sleep(TICK_SECONDS)

    def _note_away(self, error: BaseException | None) -> None:
        """Log once that Redis is away, and once that it is back."""
        if error is not None and not self._away:
            log.warning("queue.no_answer", kind=self.kind, error=type(error).__name__)
        elif error is None and self._away:
            log.info("queue.answers_again", kind=self.kind)
        self._away = error is not None

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        if self._crowded:
            self._wake.set()
