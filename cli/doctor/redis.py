"""Redis: version, what it does when it is full, and whether its user may do everything that the service does."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from arq.connections import ArqRedis
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisError, ResponseError

from cli.doctor.examination import Case, compare_clocks
from cli.doctor.redis_rights import Trial
from cli.doctor.report import Report
from common.names import address_of
from common.redis import open_redis
from common.settings import RedisSettings

OLDEST = (6, 0)  # users with rights of their own
ALMOST_FULL = 0.9  # of maxmemory
RIGHTS = "-@all +@read +@write +@transaction +@connection +@pubsub -@dangerous -@scripting +info"
POLICY = "set maxmemory-policy to noeviction"


async def check(case: Case, report: Report) -> None:
    redis = open_redis(case.settings.redis)
    where = address_of(case.settings.redis.redis_url)
    try:
        if not await _reachable(report, redis, where, unreachable_advice(case.settings.redis)):
            return
        prefix = case.settings.redis.redis_queue_prefix
        info = await _info(report, redis, prefix)
        if info is not None:
            _kind(report, info, where)
            _memory(report, info)
            _persistence(report, info)
            await _clock(case, report, redis, info)
        await _rights(report, redis, prefix)
    finally:
        with suppress(RedisError, OSError):
            await redis.aclose()


def unreachable_advice(settings: RedisSettings) -> str:
    """What to do where nothing answers. `sluice up` starts a Redis of its own, on no port, if none is named."""
    if "redis_url" in settings.model_fields_set:
        return "is it running, and is SLUICE_REDIS_URL right?"
    return "start one, or name it in SLUICE_REDIS_URL; fine for `sluice up`, which brings its own"


async def _reachable(report: Report, redis: ArqRedis, where: str, advice: str) -> bool:
    try:
        await redis.ping()
    except (RedisError, OSError, TimeoutError) as error:
        # while connecting, redis-py wraps the refusal in a ConnectionError
        if isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError):
            report.fail("redis.reachable", f"{where} refuses user or password", "look at SLUICE_REDIS_URL")
        elif isinstance(error, NoPermissionError):
            return True  # it knows us; `_rights` says what is missing
        else:
            report.fail("redis.reachable", f"{where}: {report.words_of(error)}", advice)
        return False
    return True


def grant(prefix: str, user: str = "USER") -> str:
    """The command that gives a user all that the service does, also before Redis 7."""
    return f"ACL SETUSER {user} resetkeys resetchannels ~arq:* ~{prefix}:* &{prefix}:* {RIGHTS}"


async def _info(report: Report, redis: ArqRedis, prefix: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = await redis.info()
    except NoPermissionError:
        report.fail("redis.rights", "the user may not: info", grant(prefix))
        return None
    return found


def _kind(report: Report, info: dict[str, Any], where: str) -> None:
    number = str(info.get("redis_version", "0"))
    report.ok("redis.reachable", f"{where}, version {number}")
    if tuple(int(part) for part in number.split(".")[:2] if part.isdigit()) < OLDEST:
        report.fail("redis.version", f"version {number}", "run 6.0 or newer")
    if info.get("cluster_enabled"):
        report.fail("redis.kind", "it is a cluster", "use one server (with a replica, if you like)")
    if info.get("role") not in (None, "master"):
        report.fail("redis.kind", "it is a replica", "point SLUICE_REDIS_URL at the primary")


def _memory(report: Report, info: dict[str, Any]) -> None:
    policy, most, used = info.get("maxmemory_policy"), int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if policy != "noeviction":
        said = f"maxmemory-policy is {policy}"
        if most:
            report.fail("redis.policy", f"{said}: waiting jobs are thrown away when it is full", POLICY)
        else:
            report.warn("redis.policy", f"{said}; without maxmemory it has no effect", POLICY)
    else:
        report.ok("redis.policy", "maxmemory-policy is noeviction")
    if most and used > ALMOST_FULL * most:
        report.warn(
            "redis.memory", f"{used / most:.0%} of maxmemory are used", "raise maxmemory: full, it refuses rings"
        )


def _persistence(report: Report, info: dict[str, Any]) -> None:
    failed = [name for name in ("aof_last_write_status", "rdb_last_bgsave_status") if info.get(name) == "err"]
    if failed:
        report.warn("redis.persistence", f"{', '.join(failed)}: err", "look at its disk and its log")
    elif info.get("aof_enabled"):
        report.ok("redis.persistence", "append-only file on")
    else:
        report.ok("redis.persistence", "no append-only file; after a restart the sweep rings again, seconds later")


async def _clock(case: Case, report: Report, redis: ArqRedis, info: dict[str, Any]) -> None:
    if "server_time_usec" not in info:
        return
    began, clock = time.monotonic(), case.now()
    theirs = int((await redis.info("server"))["server_time_usec"]) / 1e6
    compare_clocks(report, "redis.clock", "Redis", theirs - clock - (time.monotonic() - began) / 2)


async def _rights(report: Report, redis: ArqRedis, prefix: str) -> None:
    try:
        refused = await Trial(redis, prefix).refused()
    except (ReadOnlyError, ResponseError) as error:
        report.fail("redis.writable", report.words_of(error), "see what it says: full, a replica, or a disk that fails")
        return
    if refused:
        missing = "; ".join(f"{', '.join(commands)} on {kind}" for kind, commands in refused.items())
        report.fail("redis.rights", f"the user may not: {missing}", grant(prefix))
    else:
        report.ok("redis.rights", "the user may do everything that the service does")
