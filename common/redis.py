"""The one way to open Redis: lazily, with bounded waits, for ARQ and for signals alike."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from arq.connections import ArqRedis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from common.settings import RedisSettings

Result = TypeVar("Result")


def to_json(value: Any) -> bytes:
    """ARQ's serializer. Not pickle: whoever can write to Redis could run code in the worker."""
    return json.dumps(value, separators=(",", ":"), default=str).encode()


def from_json(raw: bytes) -> Any:
    return json.loads(raw)


class Rest:
    """Leaves a Redis that hangs alone for a moment, so that not everybody pays the whole budget one after the other.

    A refusal that comes at once costs nothing and does not count.
    """

    def __init__(self, budget: float) -> None:
        """`budget` in seconds: what one call may take, and how long the rest is."""
        self._budget = budget
        self._until = 0.0

    @property
    def now(self) -> bool:
        return time.monotonic() < self._until

    def failed(self, began: float) -> None:
        """A call that began then, by `time.monotonic`, has failed."""
        ended = time.monotonic()
        if ended - began >= self._budget / 2:
            self._until = ended + self._budget

    async def quietly(self, command: Callable[[], Awaitable[Result]]) -> Result | None:
        """What the command answers within the budget; None where Redis does not, or is being left alone."""
        if self.now:
            return None
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._budget):
                return await command()
        except (RedisError, OSError, TimeoutError):
            self.failed(began)
            return None


def open_redis(settings: RedisSettings, *, patient: bool = False) -> ArqRedis:
    """A client that connects at its first command.

    Impatient (gateway): one reconnect, then an error within `redis_timeout`. Patient (worker): rides over a restart
    of a few seconds before its poll loop gives up and the process is restarted by its supervisor.
    """
    retry = Retry(ExponentialBackoff(cap=2.0, base=0.1), 6) if patient else Retry(NoBackoff(), 1)
    options: dict[str, Any] = {"ssl_check_hostname": True} if settings.redis_url.startswith("rediss://") else {}
    client = ArqRedis.from_url(
        settings.redis_url,
        socket_connect_timeout=settings.redis_timeout,
        socket_timeout=5.0 if patient else settings.redis_timeout,
        retry=retry,
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        health_check_interval=0,
        **options,
    )
    assert isinstance(client, ArqRedis)
    client.job_serializer = to_json
    client.job_deserializer = from_json
    return client
