"""What the bodies of appends may hold while they wait for the store."""

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from common.storage.s3.appending import LEAST_HELD, LITTLE_OF_ALL, Appender

MOST = 8 * 1024**2
LITTLE = 256 * 1024  # `SLUICE_S3_HELD_CHUNK`


@pytest.fixture
def appender() -> Appender:
    """With one slot for a whole piece."""
    store: Any = SimpleNamespace(settings=SimpleNamespace(s3_held_chunk=LITTLE))
    nobody: Any = None
    return Appender(store, nobody, nobody, asyncio.Semaphore(1), MOST)


@pytest.mark.parametrize(
    ("bodies", "each"),
    [(2, LITTLE), (128, LITTLE), (256, LITTLE_OF_ALL // 256), (1000, LEAST_HELD)],
)
async def test_the_more_bodies_there_are_the_less_each_holds(appender: Appender, bodies: int, each: int) -> None:
    async with AsyncExitStack() as stack:
        first, second, *_ = [await stack.enter_async_context(appender.room()) for _ in range(bodies)]
        assert await first.allows(MOST - 1)  # it has the slot
        assert await second.allows(each - 1)
        assert not await second.allows(each)


async def test_bodies_that_have_ended_leave_their_share_to_others(appender: Appender) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(1000):
            await stack.enter_async_context(appender.room())
        assert appender.little == LEAST_HELD
    assert appender.little == LITTLE
    async with appender.room() as room:
        assert await room.allows(MOST - 1)  # the slot is free again
