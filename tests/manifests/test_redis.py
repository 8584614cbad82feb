"""The Redis of the manifests as a real server: with the rights it gives, our code does all it does, and no more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from common.queue import TASK, Bell, Ring
from common.redis import open_redis
from common.settings import load_settings
from common.signals import Signals
from common.states import JobKind
from common.telemetry import Metrics
from tests.manifests.objects import Manifests
from tests.manifests.redis_server import WATCHER, Server, Start
from worker.polling import PollLoop

LENGTH = "if redis.call('type', KEYS[1]).ok == 'zset' then return redis.call('zcard', KEYS[1]) end return 0"  # as KEDA


async def use_everything(server: Server) -> None:
    """All that gateways and workers ask of Redis."""
    settings = load_settings(environ={"SLUICE_REDIS_URL": server.url("sluice")})
    redis = open_redis(settings.redis, patient=True)
    try:
        await redis.ping()
        bell, signals = Bell(redis, settings.redis, Metrics()), Signals(redis, settings.redis)
        ran: asyncio.Queue[str] = asyncio.Queue()

        async def run_job(context: dict[Any, Any], job_id: str, epoch: int) -> None:
            del context
            ran.put_nowait(f"{job_id}:{epoch}")

        async with heard(bell.listen) as rung, heard(signals.listen) as ended:
            for channel in ("sluice:rung", "sluice:ended"):
                while not server.subscribed(channel):  # noqa: ASYNC110 - nobody tells when it stands
                    await asyncio.sleep(0.01)
            rings = [Ring("job", JobKind.FINALIZE, epoch) for epoch in (0, 1)]
            assert [await bell.ring(ring) for ring in rings] == [True, True]
            assert await rung.get() == JobKind.FINALIZE
            assert await bell.hanging(rings) == {"job"}
            await signals.report("job", 512)
            assert await signals.progress("job") == 512
            await signals.ended("job")
            assert await ended.get() == "job"
            await PollLoop(settings, JobKind.FINALIZE, redis, {TASK: run_job}, burst=True).async_run()
            assert ran.get_nowait() == "job:1"
    finally:
        await redis.aclose()


@asynccontextmanager
async def heard(listen: Callable[[Callable[[Any], None]], Awaitable[None]]) -> AsyncIterator["asyncio.Queue[Any]"]:
    """What a listener hears."""
    queue: asyncio.Queue[Any] = asyncio.Queue()
    task = asyncio.ensure_future(listen(queue.put_nowait))
    try:
        yield queue
    finally:
        await cancelled(task)


async def cancelled(task: "asyncio.Future[None]") -> None:
    """End a task: a cancellation that comes while Redis is connected to is lost, so maybe more than one."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)


async def test_the_rights_are_enough_for_all_we_do(start_redis: Start) -> None:
    with start_redis([]) as server:
        await asyncio.wait_for(use_everything(server), 20)
        assert server.refusals() == set()


@pytest.mark.parametrize(
    "right",
    ["~arq:*", "~sluice:*", "&sluice:*", "+@read", "+@write", "+@transaction", "+@connection", "+@pubsub", "+info"],
)
async def test_every_right_is_needed(start_redis: Start, right: str) -> None:
    with start_redis([right]) as server:
        using = asyncio.create_task(use_everything(server))
        try:
            async with asyncio.timeout(20):
                while not server.refusals():  # noqa: ASYNC110 - the server keeps a list and tells nobody
                    await asyncio.sleep(0.01)
        finally:
            await cancelled(using)


FORBIDDEN: list[tuple[str | int, ...]] = [
    ("FLUSHALL",),
    ("KEYS", "*"),
    ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("SHUTDOWN",),
    ("EVAL", "return 1", 0),
    ("GET", "somebody:else"),
    ("SET", "somebody:else", "x"),
    ("PUBLISH", "somebody:else", "x"),
]


@pytest.mark.parametrize("command", FORBIDDEN, ids=lambda command: str(command[0]))
def test_nothing_else_is_allowed(redis_of_the_manifests: Server, command: tuple[str | int, ...]) -> None:
    with redis_of_the_manifests.client("sluice") as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)


@pytest.fixture
def redis_of_the_manifests(start_redis: Start) -> Iterator[Server]:
    with start_redis([]) as server:
        yield server


def test_keda_measures_a_queue_and_sees_nothing_else(redis_of_the_manifests: Server) -> None:
    with redis_of_the_manifests.client("sluice") as ours, redis_of_the_manifests.client("keda") as keda:
        ours.zadd("sluice:queue:finalize", {"a:0": 1, "b:0": 2})
        assert keda.eval(LENGTH, 1, "sluice:queue:finalize") == 2
        for command in (("GET", "arq:job:a:0"), ("ZADD", "sluice:queue:finalize", "1", "c:0")):
            with pytest.raises(NoPermissionError):
                keda.execute_command(*command)


def test_nobody_comes_in_without_a_password(redis_of_the_manifests: Server) -> None:
    with (
        Redis(unix_socket_path=str(redis_of_the_manifests.socket)) as stranger,
        pytest.raises(RedisError, match="Authentication"),
    ):
        stranger.ping()


def test_nothing_is_thrown_out_and_all_is_logged(redis_of_the_manifests: Server) -> None:
    with redis_of_the_manifests.client(WATCHER) as watcher:
        assert watcher.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert watcher.config_get("appendonly") == {"appendonly": "yes"}
        bound = int(watcher.config_get("maxmemory")["maxmemory"])
    assert bound > 0


def test_the_service_logs_in_as_the_user_that_redis_knows(dev: Manifests) -> None:
    url = dev.environment(dev.pod("gateway").main)["SLUICE_REDIS_URL"]
    password = dev.environment(dev.pod("redis").main)["SLUICE_PASSWORD"]
    assert str(url).startswith(f"redis://sluice:{password}@")
