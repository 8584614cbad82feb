"""The poll loop: rings are heard at once, and slots do not stay empty while work waits."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from common.queue import TASK, Ring
from common.states import JobKind
from tests.integration.worker.rig import Rig, until, with_settings
from worker.polling import PollLoop

PAUSE = 30.0  # seconds; far longer than a test: whatever happens sooner was not found by polling


pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # no statement is run here


async def test_a_ring_wakes_a_loop_that_pauses(rig: Rig) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    loop = slow_loop(rig, heard)
    tasks = [asyncio.create_task(loop.async_run()), asyncio.create_task(rig.context.bell.listen(lambda _: loop.wake()))]
    await until(lambda: _subscribed(rig))
    began = time.monotonic()

    await rig.context.bell.ring(Ring("job", JobKind.FINALIZE, 0))

    assert await asyncio.wait_for(heard.get(), 5) == "job"
    assert time.monotonic() - began < 5
    await stop(tasks)


async def test_freed_slots_are_filled_without_waiting_for_the_next_look(rig: Rig) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    rig = Rig(with_settings(rig.settings, worker_slots=2), rig.database, rig.storage, rig.redis)
    for number in range(20):
        await rig.context.bell.ring(Ring(f"job-{number:02}", JobKind.FINALIZE, 0))
    loop = slow_loop(rig, heard)
    task = asyncio.create_task(loop.async_run())

    names = [await asyncio.wait_for(heard.get(), 5) for _ in range(20)]

    assert sorted(names) == [f"job-{number:02}" for number in range(20)]  # two run side by side
    await stop([task])


async def test_a_ring_that_found_all_slots_taken_is_heard_when_one_is_free(rig: Rig) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    rig = Rig(with_settings(rig.settings, worker_slots=1), rig.database, rig.storage, rig.redis)
    go_on = asyncio.Event()
    loop = slow_loop(rig, heard, end=go_on.wait)
    await rig.context.bell.ring(Ring("first", JobKind.FINALIZE, 0))
    task = asyncio.create_task(loop.async_run())
    assert await asyncio.wait_for(heard.get(), 5) == "first"
    await rig.context.bell.ring(Ring("second", JobKind.FINALIZE, 0))
    for _ in range(2):  # the first of these looks may have begun before the ring
        looked_at = loop.ticked_at
        loop.wake()
        await until(lambda before=looked_at: _later(loop, before))

    go_on.set()

    assert await asyncio.wait_for(heard.get(), 5) == "second"
    await stop([task])


async def test_rings_that_other_workers_have_taken_up_are_passed_over(rig: Rig) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    for number in range(150):
        await rig.context.bell.ring(Ring(f"job-{number:03}", JobKind.FINALIZE, 0))
        if number < 149:
            await rig.redis.set(f"arq:in-progress:job-{number:03}:0", b"1")
    task = asyncio.create_task(slow_loop(rig, heard).async_run())

    assert await asyncio.wait_for(heard.get(), 5) == "job-149"

    await stop([task])
    assert heard.empty()


async def test_a_ring_leaves_nothing_in_redis_once_it_was_heard(rig: Rig) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await rig.context.bell.ring(Ring("job", JobKind.FINALIZE, 0))
    loop = slow_loop(rig, heard, burst=True)
    await loop.async_run()
    assert await rig.redis.keys("*") == []


async def test_a_redis_that_fails_in_the_middle_of_a_start_costs_no_slot(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    rig = Rig(with_settings(rig.settings, worker_slots=2), rig.database, rig.storage, rig.redis)
    await rig.context.bell.ring(Ring("job", JobKind.FINALIZE, 0))
    real, calls = rig.redis.pipeline, itertools.count()

    def failing(*given: Any, **named: Any) -> Any:
        if 1 <= next(calls) <= 5:  # the first is ARQ's look at the server when it begins
            raise RedisConnectionError("cut")
        return real(*given, **named)

    monkeypatch.setattr(rig.redis, "pipeline", failing)
    monkeypatch.setattr("worker.polling.REDIS_PAUSE", 0.0)
    task = asyncio.create_task(slow_loop(rig, heard, burst=True).async_run())

    assert await asyncio.wait_for(heard.get(), 5) == "job"
    await stop([task])


async def test_a_loop_that_waits_for_redis_turns_all_the_same_but_not_for_ever(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(rig.redis, "zrangebyscore", hangs)
    monkeypatch.setattr("worker.polling.TICK_SECONDS", 0.01)
    monkeypatch.setattr("worker.polling.LOOK_SECONDS", 0.2)
    began = time.monotonic()
    loop = slow_loop(rig, asyncio.Queue())
    task = asyncio.create_task(loop.async_run())

    await until(lambda: _later(loop, began + 0.1))
    await asyncio.sleep(0.3)
    assert loop.ticked_at < time.monotonic() - 0.09
    await stop([task])


async def test_a_redis_that_is_away_for_a_while_does_not_end_the_loop(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    real, left = rig.redis.zrangebyscore, iter(range(50))

    async def failing(*given: Any, **named: Any) -> Any:
        if next(left, None) is not None:
            raise RedisConnectionError("away")
        return await real(*given, **named)

    monkeypatch.setattr(rig.redis, "zrangebyscore", failing)
    monkeypatch.setattr("worker.polling.REDIS_PAUSE", 0.0)
    await rig.context.bell.ring(Ring("job", JobKind.FINALIZE, 0))
    task = asyncio.create_task(slow_loop(rig, heard, burst=True).async_run())

    assert await asyncio.wait_for(heard.get(), 20) == "job"
    await stop([task])


async def at_once() -> None:
    """What a job does that has nothing to do."""


def slow_loop(
    rig: Rig, heard: "asyncio.Queue[str]", *, burst: bool = False, end: Callable[[], Awaitable[object]] = at_once
) -> PollLoop:
    async def task(ctx: object, job_id: str, epoch: int) -> None:
        heard.put_nowait(job_id)
        await end()

    settings = rig.settings if burst else with_settings(rig.settings, poll_delay=PAUSE)
    return PollLoop(settings, JobKind.FINALIZE, rig.redis, {TASK: task}, burst=burst)


async def stop(tasks: list[asyncio.Task[None]]) -> None:
    """redis-py loses a cancellation that comes while it reads an answer; the worker too cancels more than once."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=0.1)


async def _later(loop: PollLoop, before: float) -> bool:
    return loop.ticked_at > before


async def _subscribed(rig: Rig) -> bool:
    return bool(await rig.redis.pubsub_numsub("sluice:rung") == [(b"sluice:rung", 1)])


async def test_a_ring_of_a_kind_of_the_future_is_passed_over(rig: Rig) -> None:
    heard: asyncio.Queue[JobKind] = asyncio.Queue()
    listening = asyncio.create_task(rig.context.bell.listen(heard.put_nowait))
    await until(lambda: _subscribed(rig))

    for word in (b"scan", b"\xff\xfe", b"finalize"):
        await rig.redis.publish("sluice:rung", word)

    assert await asyncio.wait_for(heard.get(), 5) == JobKind.FINALIZE
    assert heard.empty()
    listening.cancel()
    await asyncio.wait([listening])
