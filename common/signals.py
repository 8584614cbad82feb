"""Progress and wake-ups through Redis, best effort: nothing is wrong when they are lost, only later.

A waiting poll wakes at once when the job's end is published, and within its own slow look at the database otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.gather import Gather
from common.redis import Rest
from common.settings import RedisSettings
from common.telemetry import get_logger

log = get_logger(__name__)

PROGRESS_TTL = 120  # seconds; far longer than the time between two reports
TOLD_AT_ONCE = 100  # ended jobs in one round trip
LISTEN_SECONDS = 30.0  # one wait for a message; without a number of its own the socket's short timeout would end it


class Signals:
    """Both ends: the worker reports, the gateway listens."""

    def __init__(self, redis: Redis, settings: RedisSettings) -> None:
        self._redis = redis
        self._prefix = settings.redis_queue_prefix
        self._rest = Rest(settings.redis_timeout)
        self._others: dict[str, Callable[[str], None]] = {}
        self._told: Gather[str, None] = Gather(self._tell, TOLD_AT_ONCE)

    async def ended(self, *job_ids: str) -> None:
        """Tell everybody who waits that the jobs have ended."""
        await self._told.ask(" ".join(job_ids))

    async def _tell(self, ended: Sequence[str]) -> list[None]:
        """One message for all: each costs every gateway more than what is in it."""
        await self._rest.quietly(lambda: self._redis.publish(self._channel, " ".join(ended)))
        return [None] * len(ended)

    async def report(self, job_id: str, done: int) -> None:
        """Set the progress of a running job, in bytes."""
        await self._rest.quietly(lambda: self._redis.set(self._progress_key(job_id), done, ex=PROGRESS_TTL))

    async def progress(self, job_id: str) -> int | None:
        """Bytes done of a running job; None when nobody said or Redis is away."""
        value = await self._rest.quietly(lambda: self._redis.get(self._progress_key(job_id)))
        return int(value) if isinstance(value, (bytes, str)) and value.isdigit() else None

    def also(self, channel: str, heard: Callable[[str], None]) -> None:
        """Hear another channel with the same subscription. Called before `listen`."""
        self._others[channel] = heard

    async def listen(self, heard: Callable[[str], None]) -> None:
        """Call `heard(job id)` for every ended job, for ever; reconnects by itself. Ends by cancellation."""

        def ended(job_ids: str) -> None:
            for job_id in job_ids.split():
                heard(job_id)

        channels = {self._channel: ended, **self._others}
        away = False
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(*channels)
                    if away:
                        log.info("signals.connected")
                    away = False
                    while True:
                        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=LISTEN_SECONDS)
                        if message is not None:
                            channels[_text(message["channel"])](_text(message["data"]))
            except (RedisError, OSError) as error:
                if not away:  # one line when it goes and one when it is back
                    log.warning("signals.disconnected", error=type(error).__name__)
                away = True
                await asyncio.sleep(1)

    @property
    def _channel(self) -> str:
        return f"{self._prefix}:ended"

    def _progress_key(self, job_id: str) -> str:
        return f"{self._prefix}:progress:{job_id}"


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
