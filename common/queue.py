"""The doorbell over ARQ. It says "look at this job row"; the row is the truth.

A lost ring costs seconds (the sweep rings again), a doubled one nothing (the claim is a compare-and-set). The transport
is swapped by replacing this module.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from redis.exceptions import RedisError

from common.redis import Rest
from common.settings import RedisSettings
from common.states import JobKind
from common.telemetry import Metrics, get_logger

log = get_logger(__name__)

_KINDS = {kind.value.encode(): kind for kind in JobKind}

TASK = "run_job"
"""The one ARQ function, by name: the kind of work stands in the job row."""


def queue_name(settings: RedisSettings, kind: JobKind) -> str:
    """The sorted set that holds the bells of one kind: finalize and metadata never wait for each other."""
    return f"{settings.redis_queue_prefix}:queue:{kind}"


def bell_id(job_id: str, epoch: int) -> str:
    """ARQ refuses an id that is waiting or running; each ring has an epoch, so a new ring is always a new id."""
    return f"{job_id}:{epoch}"


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring: which job, the how-manieth ring it is, and in how many seconds the job is due.

    A negative `delay` puts a job that has waited already before those that came later.
    """

    job_id: str
    kind: JobKind
    epoch: int
    delay: float = 0.0


class Bell:
    """Rings. Never raises for a Redis that is away: the failure is counted and forgotten, the sweep rings again."""

    def __init__(self, redis: ArqRedis, settings: RedisSettings, metrics: Metrics) -> None:
        self._redis = redis
        self._settings = settings
        self._metrics = metrics
        self._rest = Rest(settings.redis_timeout)

    async def ring(self, ring: Ring) -> bool:
        """Whether Redis took it within `redis_timeout` seconds. For as long after a Redis that hung it is not asked."""
        if self._rest.now:
            return self._failed(ring, "Rest")
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                await self._enqueue(ring)
        except (RedisError, OSError, TimeoutError) as error:
            self._rest.failed(began)
            return self._failed(ring, type(error).__name__)
        return True

    def _failed(self, ring: Ring, error: str) -> bool:
        self._metrics.bell_failed.labels(kind=ring.kind).inc()
        log.warning("bell.failed", job_id=ring.job_id, kind=ring.kind, error=error)
        return False

    async def hanging(self, rings: Sequence[Ring]) -> set[str] | None:
        """Ids of the jobs whose ring still waits for a worker to hear it; None when Redis is away.

        A ring that a worker took up and never ended (it was killed) hangs no more.
        """
        try:
            async with asyncio.timeout(self._settings.redis_timeout), self._redis.pipeline(transaction=False) as asked:
                for ring in rings:
                    name = bell_id(ring.job_id, ring.epoch)
                    asked.zscore(queue_name(self._settings, ring.kind), name)
                    asked.exists(job_key_prefix + name)
                    asked.exists(in_progress_key_prefix + name)
                answers = await asked.execute()
        except (RedisError, OSError, TimeoutError):
            return None
        triples = zip(rings, answers[0::3], answers[1::3], answers[2::3], strict=True)
        return {ring.job_id for ring, score, there, taken in triples if score is not None and there and not taken}

    async def _enqueue(self, ring: Ring) -> None:
        name = queue_name(self._settings, ring.kind)
        if ring.epoch > 0:
            # After kill -9 ARQ keeps the dead run's entry for as long as its longest timeout; it would hold a place
            # among the first `queue_read_limit` ids.
            stale = bell_id(ring.job_id, ring.epoch - 1)
            await self._redis.zrem(name, stale)
            await self._redis.delete(job_key_prefix + stale)
        await self._redis.enqueue_job(
            TASK,
            ring.job_id,
            ring.epoch,
            _job_id=bell_id(ring.job_id, ring.epoch),
            _queue_name=name,
            _defer_by=ring.delay or None,
        )
        if ring.delay <= 0:
            await self._redis.publish(self._channel, ring.kind)

    async def listen(self, heard: Callable[[JobKind], None]) -> None:
        """Call `heard(kind)` at every ring that is due, for ever: a poll loop need not wait for its next look.

        Best effort: while it does not listen, rings are found by polling. Ends by cancellation.
        """
        while True:
            try:
                async with self._redis.pubsub() as channel:
                    await channel.subscribe(self._channel)
                    while True:
                        message = await channel.get_message(ignore_subscribe_messages=True, timeout=None)
                        if message is not None and (kind := _KINDS.get(message["data"])) is not None:
                            heard(kind)  # a kind that we do not know belongs to workers of a later version
            except (RedisError, OSError) as error:
                log.info("bell.not_listening", error=type(error).__name__)
                await asyncio.sleep(1)

    @property
    def _channel(self) -> str:
        return f"{self._settings.redis_queue_prefix}:rung"

    async def close(self) -> None:
        await self._redis.aclose()
