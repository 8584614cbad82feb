"""The users in `redis-users.acl`: enough for the service, and not more."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from tests.fixtures.redis import GuardedRedis, guarded_redis
from tests.fixtures.topology import Topology

Attempt = Callable[[Redis], Any]


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedRedis]:
    with guarded_redis() as running:
        yield running


@pytest.fixture
def service(guarded: GuardedRedis) -> Iterator[Redis]:
    """Connected as gateways and workers are."""
    with Redis.from_url(guarded.url) as redis:
        yield redis


def test_gateways_and_workers_are_refused_nothing_on_the_way_of_a_file(
    behind_nginx: Topology, ready_file: Callable[[bytes], str]
) -> None:
    ready_file(b"every command of the way")

    assert behind_nginx.redis.refused() == []
    with Redis.from_url(behind_nginx.redis.inspector_url) as redis:
        used = {name.removeprefix("cmdstat_") for name in redis.info("commandstats")}
    assert {"zadd", "zrangebyscore", "publish", "subscribe", "multi", "exec", "get"} <= used


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(lambda redis: redis.flushall(), id="wiping everything"),
        pytest.param(lambda redis: redis.keys("*"), id="listing all keys"),
        pytest.param(lambda redis: redis.eval("return 1", 0), id="running a script"),
        pytest.param(lambda redis: redis.config_get("*"), id="reading the configuration"),
        pytest.param(lambda redis: redis.acl_list(), id="reading the users"),
        pytest.param(lambda redis: redis.set("others:key", 1), id="a key of somebody else"),
        pytest.param(lambda redis: redis.publish("others", "x"), id="a channel of somebody else"),
        pytest.param(lambda redis: redis.execute_command("PSUBSCRIBE", "*"), id="listening to everything"),
    ],
)
def test_the_service_may_not(service: Redis, attempt: Attempt) -> None:
    with pytest.raises(NoPermissionError):
        attempt(service)


def test_nobody_gets_in_without_a_name(guarded: GuardedRedis) -> None:
    with (
        Redis.from_url(guarded.url.replace("sluice:try-out-only@", "")) as redis,
        pytest.raises(AuthenticationError),
    ):
        redis.ping()


def test_the_health_check_may_ping_and_nothing_else(guarded: GuardedRedis) -> None:
    with Redis.from_url(guarded.url.replace("sluice:try-out-only@", "probe:probe@")) as redis:
        assert redis.ping()
        with pytest.raises(NoPermissionError):
            redis.get("sluice:queue:finalize")
