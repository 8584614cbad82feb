"""Who may append to a stream at the moment, over all gateways: a lease in Redis, and asking its holder to let go.

Best effort, as all of Redis: it makes a newcomer wait for tens of milliseconds in place of minutes. That two never
write at one offset is the storage's own doing (`common.storage.base.Appends`), with Redis or without.

A lease is a key whose value is the random token of its holder. It is compared before it is released or taken over, by
WATCH and MULTI: the rights that we ask of Redis have no scripts. Renewing compares without them: at the worst the lease
of somebody else lives a little longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import WatchError

from common.redis import Rest
from common.settings import RedisSettings

LEASE_SECONDS = 15.0  # renewed three times in it; who dies is taken over long before (gateway.service.turns)
AT_ONCE = 8  # connections that the leases of one process take; each is kept, and holds tens of KiB
Result = TypeVar("Result")


class AppendLeases:
    """Every method gives None where Redis did not answer."""

    def __init__(self, redis: Redis, settings: RedisSettings) -> None:
        self._redis = redis
        self._prefix = settings.redis_queue_prefix
        self._rest = Rest(settings.redis_timeout)
        self._connections = asyncio.Semaphore(AT_ONCE)

    async def take(self, stream: str, token: str) -> str | None:
        """The token of the holder: the caller's own where nobody else had the lease."""
        key = self._key(stream)

        async def command() -> str:
            while not await self._redis.set(key, token, nx=True, px=_milliseconds()):
                holder = await self._redis.get(key)
                if holder is not None:
                    return _text(holder)
            return token

        return await self._within(command)

    async def take_over(self, stream: str, token: str, before: str) -> bool | None:
        """Take the lease from a holder that does not answer; False where it is another's by now."""
        return await self._if_held(stream, before, lambda pipe, key: pipe.set(key, token, px=_milliseconds()))

    async def renew(self, held: Mapping[str, str]) -> list[str]:
        """Renew all leases of a process (stream: token) in two round trips, and take back what has lapsed meanwhile;
        the streams that are another's by now."""
        lost: list[str] = []

        async def command() -> None:
            found = await self._redis.mget([self._key(stream) for stream in held])
            pipeline = self._redis.pipeline(transaction=False)
            for (stream, token), holder in zip(held.items(), found, strict=True):
                if holder is None:
                    pipeline.set(self._key(stream), token, nx=True, px=_milliseconds())
                elif _text(holder) == token:
                    pipeline.pexpire(self._key(stream), _milliseconds())
                else:
                    lost.append(stream)
            await pipeline.execute()

        if held:
            await self._within(command)
        return lost

    async def release(self, stream: str, token: str) -> bool | None:
        """Give it back; one that is another's by now stays."""
        return await self._if_held(stream, token, lambda pipe, key: pipe.delete(key))

    async def ask(self, token: str) -> None:
        """Ask the holder with this token, wherever it is, to let go."""
        await self._within(lambda: self._redis.publish(self.channel, token))

    async def _if_held(self, stream: str, token: str, change: Callable[[Pipeline, str], object]) -> bool | None:
        key = self._key(stream)

        async def command() -> bool:
            async with self._redis.pipeline(transaction=True) as pipe:
                await pipe.watch(key)
                holder = await pipe.get(key)
                if holder is None or _text(holder) != token:
                    return False
                pipe.multi()  # type: ignore[no-untyped-call]
                change(pipe, key)
                try:
                    await pipe.execute()
                except WatchError:
                    return False
                return True

        return await self._within(command)

    async def _within(self, command: Callable[[], Awaitable[Result]]) -> Result | None:
        async with self._connections:
            return await self._rest.quietly(command)

    def _key(self, stream: str) -> str:
        return f"{self._prefix}:append:{stream}"

    @property
    def channel(self) -> str:
        """Where holders hear their tokens, when they are asked to let go."""
        return f"{self._prefix}:let-go"


def _milliseconds() -> int:
    return round(LEASE_SECONDS * 1000)


def _text(value: bytes | str) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
