"""What the user of Redis may do, found out by doing it: every command of ARQ and ours, on names that nobody reads."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from redis.exceptions import NoPermissionError, RedisError

Attempt = Callable[[], Awaitable[Any]]
LIVES = 60  # seconds; should we die in the middle


class Trial:
    """Makes keys of each kind and removes them."""

    def __init__(self, redis: ArqRedis, prefix: str) -> None:
        name = f"doctor-{secrets.token_hex(6)}"
        self._redis = redis
        self._keys = {
            f"{kind}*": f"{kind}{name}"
            for kind in (job_key_prefix, in_progress_key_prefix, retry_key_prefix, f"{prefix}:progress:")
        }
        self._queues = f"{prefix}:queue:*"
        self._queue = f"{prefix}:queue:{name}"
        self._channels, self._channel = f"{prefix}:*", f"{prefix}:{name}"

    async def refused(self) -> dict[str, list[str]]:
        """The commands that are missing, by kind of key. Raises RedisError for other troubles."""
        attempts = {self._queues: self._on_queue(), self._channels: self._on_channel()}
        attempts |= {kind: self._on_key(key) for kind, key in self._keys.items()}
        missing: dict[str, list[str]] = {}
        try:
            for kind, commands in attempts.items():
                for command, attempt in commands.items():
                    try:
                        await attempt()
                    except NoPermissionError:
                        missing.setdefault(kind, []).append(command)
        finally:
            with suppress(RedisError, OSError):
                await self._redis.delete(*self._keys.values(), self._queue)
        return missing

    def _on_key(self, key: str) -> dict[str, Attempt]:
        redis = self._redis
        return {
            "set": partial(redis.set, key, 1, ex=LIVES),
            "psetex": partial(redis.psetex, key, 1000 * LIVES, 1),
            "get": partial(redis.get, key),
            "mget": partial(redis.mget, [key]),
            "exists": partial(redis.exists, key),
            "incr": partial(redis.incr, key),
            "expire": partial(redis.expire, key, LIVES),
            "del": partial(redis.delete, key),
        }

    def _on_queue(self) -> dict[str, Attempt]:
        redis, queue = self._redis, self._queue
        return {
            "zadd": partial(redis.zadd, queue, {"x": 1}),
            "zcard": partial(redis.zcard, queue),
            "zscore": partial(redis.zscore, queue, "x"),
            "zrangebyscore": partial(redis.zrangebyscore, queue, 0, 1, start=0, num=1),
            "watch, multi, exec": self._transaction,
            "zincrby": partial(redis.zincrby, queue, 1, "x"),
            "zrem": partial(redis.zrem, queue, "x"),
        }

    async def _transaction(self) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(self._queue)
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.zadd(self._queue, {"x": 2})
            await pipe.execute()

    def _on_channel(self) -> dict[str, Attempt]:
        return {
            "publish": partial(self._redis.publish, self._channel, "x"),
            "subscribe": self._listen,
        }

    async def _listen(self) -> None:
        async with self._redis.pubsub() as listening:
            await listening.subscribe(self._channel)
            await listening.get_message(timeout=1)  # the answer to the subscription
            await listening.unsubscribe(self._channel)
