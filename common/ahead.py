"""Uploads that a worker hashes while they arrive: who tells of them, who has taken them. Through Redis, best effort.

A gateway tells all workers of a large upload; one takes it and listens on a channel of that upload. The ring for its
finalize goes there first (`common.queue`). What is lost here costs time only: somebody else reads the whole file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from common.redis import Rest, from_json, to_json
from common.settings import RedisSettings
from common.telemetry import get_logger

log = get_logger(__name__)

TAKEN_SECONDS = 30  # how long an upload is a worker's that has died


def ringing_channel(settings: RedisSettings, upload_id: str) -> str:
    """Where the worker that hashes this upload hears the ring for its finalize."""
    return f"{settings.redis_queue_prefix}:ahead:{upload_id}"


class AheadNews:
    """Both ends: gateways tell, workers listen and take."""

    def __init__(self, redis: Redis, settings: RedisSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._rest = Rest(settings.redis_timeout)
        self._listening: PubSub | None = None
        self._channels: set[str] = set()  # of what was taken

    async def tell(self, tenant: str, upload_id: str) -> None:
        """An upload is being filled; nothing, where a worker has it. What is lost is told with a later chunk."""

        async def command() -> None:
            if not await self._redis.exists(self._key(upload_id)):
                await self._redis.publish(self._arriving, to_json([tenant, upload_id]))

        await self._rest.quietly(command)

    async def take(self, upload_id: str, owner: str) -> bool:
        """Whether this worker is now the one; then it hears the ring."""

        async def command() -> bool:
            if not await self._redis.set(self._key(upload_id), owner, nx=True, ex=TAKEN_SECONDS):
                return False
            channel = ringing_channel(self._settings, upload_id)
            self._channels.add(channel)
            if self._listening is not None:
                await self._listening.subscribe(channel)
            return True

        return bool(await self._rest.quietly(command))

    async def keep(self, upload_ids: Iterable[str]) -> None:
        """They are still this worker's; often enough within `TAKEN_SECONDS`. Else, at the worst, two hash them."""
        pipeline = self._redis.pipeline(transaction=False)
        for upload_id in upload_ids:
            pipeline.expire(self._key(upload_id), TAKEN_SECONDS)
        await self._rest.quietly(pipeline.execute)

    async def leave(self, upload_id: str) -> None:
        """It is nobody's now, at the latest when the key lapses."""
        channel = ringing_channel(self._settings, upload_id)
        self._channels.discard(channel)

        async def command() -> None:
            if self._listening is not None:
                await self._listening.unsubscribe(channel)
            await self._redis.delete(self._key(upload_id))

        await self._rest.quietly(command)

    async def listen(self, arriving: Callable[[str, str], None], ringing: Callable[[str], None]) -> None:
        """Call `arriving(tenant, upload id)` for what gateways tell and `ringing(job id)` for the rings of what was
        taken, for ever. Ends by cancellation."""
        while True:
            try:
                async with self._redis.pubsub() as listening:
                    await listening.subscribe(self._arriving, *self._channels)
                    self._listening = listening
                    while True:
                        message = await listening.get_message(ignore_subscribe_messages=True, timeout=None)
                        if message is None:
                            continue
                        if message["channel"] != self._arriving.encode():
                            ringing(message["data"].decode("ascii", "replace"))
                        elif (told := _told(message["data"])) is not None:
                            arriving(*told)
            except (RedisError, OSError) as error:
                log.info("ahead.not_listening", error=type(error).__name__)
                await asyncio.sleep(1)
            finally:
                self._listening = None

    @property
    def _arriving(self) -> str:
        return f"{self._settings.redis_queue_prefix}:arriving"

    def _key(self, upload_id: str) -> str:
        return f"{self._settings.redis_queue_prefix}:hashing:{upload_id}"


def _told(message: bytes) -> tuple[str, str] | None:
    """Tenant and upload id; None for what is not of ours."""
    try:
        tenant, upload_id = from_json(message)
    except (ValueError, TypeError):
        return None
    return (tenant, upload_id) if isinstance(tenant, str) and isinstance(upload_id, str) else None
