"""Redis as `sluice doctor` sees it: each thing broken once, on a real server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from cli.doctor.redis import unreachable_advice
from common.settings import load_settings
from tests.fixtures.redis import GuardedRedis, guarded_redis
from tests.integration.doctor.examined import FAIL, OK, WARN, failed, found, silent_server

HOUR = 3600.0


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedRedis]:
    """A Redis with the users of docker-compose.yml."""
    with guarded_redis() as running:
        yield running


@pytest.fixture
def inspector(guarded: GuardedRedis) -> Iterator[Redis]:
    """Somebody who may change it; it is put right again afterwards."""
    with Redis.from_url(guarded.inspector_url) as redis:
        yield redis
        redis.replicaof("NO", "ONE")
        redis.config_set("maxmemory", 0)
        redis.config_set("maxmemory-policy", "noeviction")


def as_user(guarded: GuardedRedis, user: str = "sluice", password: str = "") -> dict[str, str]:
    if not password:
        return {"SLUICE_REDIS_URL": guarded.url}
    return {"SLUICE_REDIS_URL": guarded.inspector_url.replace("inspector:nothing", f"{user}:{password}")}


async def test_a_redis_that_is_right_has_no_failure_and_nothing_is_left_in_it(redis_url: str) -> None:
    findings = await found("redis", environ={"SLUICE_REDIS_URL": redis_url})
    assert {finding.verdict for finding in findings.values()} == {OK}
    with Redis.from_url(redis_url) as redis:
        assert redis.keys("*") == []


async def test_the_user_of_docker_compose_may_do_everything(guarded: GuardedRedis) -> None:
    findings = await found("redis", environ=as_user(guarded))
    assert failed(findings) == set()
    assert findings["redis.persistence"].said == "append-only file on"


async def test_rights_that_are_missing_are_listed(guarded: GuardedRedis, inspector: Redis) -> None:
    inspector.acl_setuser(
        "half", enabled=True, reset=True, passwords=["+secret"], keys=["arq:*", "sluice:*"], channels=["sluice:*"],
        categories=["+@all"], commands=["-publish", "-zcard"], reset_channels=True,
    )  # fmt: skip
    finding = (await found("redis", environ=as_user(guarded, "half", "secret")))["redis.rights"]
    assert finding.verdict == FAIL
    assert finding.said == "the user may not: zcard on sluice:queue:*; publish on sluice:*"


async def test_the_rights_that_it_names_are_enough(guarded: GuardedRedis, inspector: Redis) -> None:
    inspector.acl_setuser("new", enabled=True, reset=True, passwords=["+secret"], commands=["+ping"])
    environ = as_user(guarded, "new", "secret")
    command = (await found("redis", environ=environ))["redis.rights"].do
    inspector.execute_command(*("new" if word == "USER" else word for word in command.split()))  # type: ignore[no-untyped-call]
    assert failed(await found("redis", environ=environ)) == set()


async def test_keys_and_channels_of_another_prefix_are_no_right(guarded: GuardedRedis) -> None:
    environ = as_user(guarded) | {"SLUICE_REDIS_QUEUE_PREFIX": "other"}
    said = (await found("redis", environ=environ))["redis.rights"].said
    assert "zadd, zcard, zscore, zrangebyscore, watch, multi, exec, zincrby, zrem on other:queue:*" in said
    assert "publish, subscribe on other:*" in said
    assert "arq:job" not in said


async def test_a_wrong_password_is_named_and_not_shown(guarded: GuardedRedis) -> None:
    findings = await found("redis", environ=as_user(guarded, "sluice", "secret"))
    assert set(findings) == {"redis.reachable"}
    assert "refuses user or password" in findings["redis.reachable"].said


@pytest.mark.parametrize(("maxmemory", "verdict"), [("100mb", FAIL), (0, WARN)])
async def test_a_policy_that_throws_jobs_away_is_seen(
    guarded: GuardedRedis, inspector: Redis, maxmemory: str | int, verdict: str
) -> None:
    inspector.config_set("maxmemory", maxmemory)
    inspector.config_set("maxmemory-policy", "allkeys-lru")
    finding = (await found("redis", environ=as_user(guarded)))["redis.policy"]
    assert (finding.verdict, finding.do) == (verdict, "set maxmemory-policy to noeviction")


async def test_a_full_redis_is_a_failure(guarded: GuardedRedis, inspector: Redis) -> None:
    inspector.config_set("maxmemory", 1)
    findings = await found("redis", environ=as_user(guarded))
    assert failed(findings) == {"redis.writable"}
    assert findings["redis.memory"].verdict == WARN


async def test_a_replica_is_a_failure(guarded: GuardedRedis, inspector: Redis) -> None:
    inspector.replicaof("127.0.0.1", "1")
    assert {"redis.kind", "redis.writable"} <= failed(await found("redis", environ=as_user(guarded)))


async def test_a_clock_that_is_off_is_a_failure(redis_url: str) -> None:
    now: Callable[[], float] = lambda: time.time() - HOUR  # noqa: E731
    finding = (await found("redis", environ={"SLUICE_REDIS_URL": redis_url}, now=now))["redis.clock"]
    assert finding.verdict == FAIL
    assert "ahead of this machine" in finding.said


async def test_a_server_that_says_nothing_is_a_failure_in_seconds() -> None:
    with silent_server() as port:
        began = time.monotonic()
        findings = await found(
            "redis", environ={"SLUICE_REDIS_URL": f"redis://:secret@127.0.0.1:{port}/0"}, seconds=3.0
        )
    assert time.monotonic() - began < 10
    assert len(failed(findings)) == 1


def test_who_named_no_redis_is_told_that_up_brings_one() -> None:
    nowhere, named = load_settings(environ={}), load_settings(environ={"SLUICE_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert "`sluice up`, which brings its own" in unreachable_advice(nowhere.redis)
    assert unreachable_advice(named.redis) == "is it running, and is SLUICE_REDIS_URL right?"
