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

    async def refused(self) -> list[str]:
        """The commands that are missing, each with the kind of key. Raises RedisError for other troubles."""
        attempts = self._on_queue() | self._on_channel()
        for kind, key in self._keys.items():
            attempts |= self._on_key(kind, key)
        missing = []
        try:
            for command, attempt in attempts.items():
                try:
                    await attempt()
                except NoPermissionError:
                    missing.append(command)
        finally:
            with suppress(RedisError, OSError):
                await self._redis.delete(*self._keys.values(), self._queue)
        return missing

    def _on_key(self, kind: str, key: str) -> dict[str, Attempt]:
        redis = self._redis
        return {
            f"set {kind}": partial(redis.set, key, 1, ex=LIVES),
            f"psetex {kind}": partial(redis.psetex, key, 1000 * LIVES, 1),
            f"get {kind}": partial(redis.get, key),
            f"mget {kind}": partial(redis.mget, [key]),
            f"exists {kind}": partial(redis.exists, key),
            f"incr {kind}": partial(redis.incr, key),
            f"expire {kind}": partial(redis.expire, key, LIVES),
            f"del {kind}": partial(redis.delete, key),
        }

    def _on_queue(self) -> dict[str, Attempt]:
        redis, kind, queue = self._redis, self._queues, self._queue
        return {
            f"zadd {kind}": partial(redis.zadd, queue, {"x": 1}),
            f"zcard {kind}": partial(redis.zcard, queue),
            f"zscore {kind}": partial(redis.zscore, queue, "x"),
            f"zrangebyscore {kind}": partial(redis.zrangebyscore, queue, 0, 1, start=0, num=1),
            f"watch, multi, exec {kind}": self._transaction,
            f"zincrby {kind}": partial(redis.zincrby, queue, 1, "x"),
            f"zrem {kind}": partial(redis.zrem, queue, "x"),
        }

    async def _transaction(self) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            await pipe.watch(self._queue)
            pipe.multi()  # type: ignore[no-untyped-call]
            pipe.zadd(self._queue, {"x": 2})
            await pipe.execute()

    def _on_channel(self) -> dict[str, Attempt]:
        return {
            f"publish {self._channels}": partial(self._redis.publish, self._channel, "x"),
            f"subscribe {self._channels}": self._listen,
        }

    async def _listen(self) -> None:
        async with self._redis.pubsub() as listening:
            await listening.subscribe(self._channel)
            await listening.get_message(timeout=1)  # the answer to the subscription
            await listening.unsubscribe(self._channel)
