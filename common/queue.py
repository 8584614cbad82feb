"""The doorbell over ARQ. It says "look at this job row"; the row is the truth.

A lost ring costs seconds (the sweep rings again), a doubled one nothing (the claim is a compare-and-set). The transport
is swapped by replacing this module.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from redis.exceptions import RedisError

from common.ahead import ringing_channel
from common.db.models import Job
from common.ids import new_id
from common.redis import Rest
from common.settings import RedisSettings
from common.states import JobKind
from common.telemetry import Metrics, get_logger

log = get_logger(__name__)

_KINDS = {kind.value.encode(): kind for kind in JobKind}

TASK = "run_job"
"""The ARQ function of a ring for one job, by name: the kind of work stands in the job row."""
GROUP_TASK = "run_jobs"
"""The ARQ function of a ring for several jobs."""
RINGS_AT_ONCE = 8  # connections that the rings of one process take
MOST_IN_GROUP = 32
GROUP_BYTES = 1024**2
"""Jobs of up to so many bytes may share a ring: what is around them costs more than the work."""


def queue_name(settings: RedisSettings, kind: JobKind) -> str:
    """The sorted set that holds the bells of one kind: finalize and metadata never wait for each other."""
    return f"{settings.redis_queue_prefix}:queue:{kind}"


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring: which job, the how-manieth ring it is, and in how many seconds the job is due.

    A negative `delay` puts a job that has waited already before those that came later. `group` names the first ring
    (epoch 0) where it was one for several jobs of a kind: the `bell` of their rows. `ahead` is the upload's id where a
    worker may have hashed it already (`common.ahead`): that one is rung first.
    """

    job_id: str
    kind: JobKind
    epoch: int
    delay: float = 0.0
    group: str | None = None
    ahead: str | None = None

    @property
    def name(self) -> str:
        """What ARQ calls it. ARQ refuses an id that is waiting or running; a new ring is always a new id."""
        return f"group:{self.group}" if self.grouped else f"{self.job_id}:{self.epoch}"

    @property
    def grouped(self) -> bool:
        """Whether other jobs share it; a second ring is the job's own."""
        return self.group is not None and self.epoch == 0

    @property
    def before(self) -> Ring:
        """The ring before this one; `epoch` is above 0."""
        return replace(self, epoch=self.epoch - 1)


def share_bell(jobs: Sequence[Job]) -> None:
    """Give the small ones of some new jobs of one kind one ring together."""
    small = [job for job in jobs if job.size <= GROUP_BYTES]
    bell = new_id() if len(small) > 1 else None
    for job in jobs:
        job.bell = bell if job.size <= GROUP_BYTES else None


def ring_of(job: Job, delay: float = 0.0) -> Ring:
    """The present ring of a job."""
    return Ring(job.id, JobKind(job.kind), job.epoch, delay, job.bell)


class Bell:
    """Rings. Never raises for a Redis that is away: the failure is counted and forgotten, the sweep rings again."""

    def __init__(self, redis: ArqRedis, settings: RedisSettings, metrics: Metrics) -> None:
        self._redis = redis
        self._settings = settings
        self._metrics = metrics
        self._rest = Rest(settings.redis_timeout)
        self._connections = asyncio.Semaphore(RINGS_AT_ONCE)

    async def ring(self, *rings: Ring) -> bool:
        """Whether Redis took all within `redis_timeout` seconds. Rings of one name are one.

        For as long after a Redis that hung it is not asked.
        """
        by_name: dict[str, list[Ring]] = {}
        for ring in rings:
            by_name.setdefault(ring.name, []).append(ring)
        if self._rest.now:
            return self._failed(rings, "Rest")
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                outcomes = await asyncio.gather(*map(self._one_of_some, by_name.values()), return_exceptions=True)
        except TimeoutError:
            self._rest.failed(began)
            return self._failed(rings, "TimeoutError")
        heard = True
        for group, error in zip(by_name.values(), outcomes, strict=True):
            if isinstance(error, (RedisError, OSError)):
                self._rest.failed(began)
                heard = self._failed(group, type(error).__name__)
            elif error is not None:
                raise error
        return heard

    async def _one_of_some(self, group: Sequence[Ring]) -> None:
        async with self._connections:
            await self._enqueue(group)

    def _failed(self, group: Sequence[Ring], error: str) -> bool:
        for ring in group:
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
                    asked.zscore(queue_name(self._settings, ring.kind), ring.name)
                    asked.exists(job_key_prefix + ring.name)
                    asked.exists(in_progress_key_prefix + ring.name)
                answers = await asked.execute()
        except (RedisError, OSError, TimeoutError):
            return None
        triples = zip(rings, answers[0::3], answers[1::3], answers[2::3], strict=True)
        return {ring.job_id for ring, score, there, taken in triples if score is not None and there and not taken}

    async def _enqueue(self, group: Sequence[Ring]) -> None:
        first = group[0]
        if first.ahead and await self._redis.publish(ringing_channel(self._settings, first.ahead), first.job_id):
            return
        queue = queue_name(self._settings, first.kind)
        if first.epoch > 0:
            # After kill -9 ARQ keeps the dead run's entry for as long as its longest timeout; it would hold a place
            # among the first `queue_read_limit` ids. Others of a group have been heard with it, or are rung again.
            await self._redis.zrem(queue, first.before.name)
            await self._redis.delete(job_key_prefix + first.before.name)
        await self._redis.enqueue_job(
            GROUP_TASK if first.grouped else TASK,
            *([[ring.job_id for ring in group]] if first.grouped else [first.job_id, first.epoch]),
            _job_id=first.name,
            _queue_name=queue,
            _defer_by=first.delay or None,
        )
        if first.delay <= 0:
            await self._redis.publish(self._channel, first.kind)

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
