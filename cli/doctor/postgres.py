"""PostgreSQL: version, clock, durability, rights, and whether it has connections for everybody."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from cli.doctor.examination import Case, compare_clocks
from cli.doctor.report import Report
from common.db.models import Base
from common.settings import DatabaseSettings

Checks = Callable[[Case, Report, AsyncConnection, str], Awaitable[None]]

OLDEST = 130000  # server_version_num
FOR_MIGRATION, FOR_PEOPLE = 2, 8  # connections beside those of the processes
_BOUNDS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
_NAMES = (
    "server_version", "server_version_num", "max_connections", "superuser_reserved_connections", "reserved_connections",
    "fsync", "full_page_writes", "synchronous_commit", "server_encoding", "TimeZone", *_BOUNDS,
)  # fmt: skip
_RIGHTS = "SELECT t || ': ' || p FROM unnest(CAST(:tables AS text[])) t, unnest(CAST(:rights AS text[])) p "
_RIGHTS += "WHERE to_regclass(t) IS NOT NULL AND NOT has_table_privilege(to_regclass(t), p) ORDER BY 1"
_SEEN = """
SELECT count(DISTINCT application_name) FILTER (WHERE application_name LIKE 'sluice-gateway%') AS gateways,
       count(DISTINCT application_name) FILTER (WHERE application_name LIKE 'sluice-worker%') AS workers
FROM pg_stat_activity"""
_SELF = """
SELECT pg_is_in_recovery() AS replica, current_setting('transaction_read_only') = 'on' AS read_only,
       inet_server_addr() IS NOT NULL AS remote,
       coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_user,
       (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database"""


async def check(case: Case, report: Report, connection: AsyncConnection, where: str) -> None:
    asked = text("SELECT n, current_setting(n, true) FROM unnest(CAST(:names AS text[])) n")
    values = {row.n: row.current_setting for row in await connection.execute(asked, {"names": list(_NAMES)})}
    itself = (await connection.execute(text(_SELF))).one()
    report.ok("database.reachable", f"{where}, PostgreSQL {values['server_version']}, time zone {values['TimeZone']}")
    if int(values["server_version_num"]) < OLDEST:
        report.fail("database.version", f"PostgreSQL {values['server_version']}", "run 13 or newer")
    await _clock(case, report, connection)
    _writable(report, itself)
    _encryption(report, itself)
    _durable(report, values)
    _encoding(report, values)
    await _rights(report, connection)
    if case.settings.database.database_pooler == "none":
        seen = (await connection.execute(text(_SEEN))).one()
        _budget(case, report, budget_of(values, itself), seen)
    else:
        _bounds(report, values)


async def _clock(case: Case, report: Report, connection: AsyncConnection) -> None:
    began, clock = time.monotonic(), case.now()
    theirs = float(await connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0)
    compare_clocks(report, "database.clock", "the database", theirs - clock - (time.monotonic() - began) / 2)


def _writable(report: Report, itself: Row[Any]) -> None:
    if itself.replica or itself.read_only:
        primary = "point SLUICE_DATABASE_URL at the primary"
        if itself.replica:
            report.fail("database.writable", "it is a replica", primary)
        else:
            do = f"set default_transaction_read_only = off for the user or the database, or {primary}"
            report.fail("database.writable", "it is read-only for this user", do)


def _encryption(report: Report, itself: Row[Any]) -> None:
    if itself.remote and not itself.tls:
        do = "add ?sslmode=verify-full to SLUICE_DATABASE_URL, unless the network is trusted"
        report.warn("database.tls", "the connection is not encrypted", do)


def _durable(report: Report, values: dict[str, str]) -> None:
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if values[name] == "off"]
    if off:
        report.warn(
            "database.durability", f"off: {', '.join(off)}", "turn it on: a crash loses rows that were acknowledged"
        )
    else:
        report.ok("database.durability", f"synchronous_commit is {values['synchronous_commit']}")


def _encoding(report: Report, values: dict[str, str]) -> None:
    if values["server_encoding"] != "UTF8":
        report.fail(
            "database.encoding", f"it is {values['server_encoding']}", "create the database with ENCODING 'UTF8'"
        )


async def _rights(report: Report, connection: AsyncConnection) -> None:
    asked = {"tables": list(Base.metadata.tables), "rights": ["SELECT", "INSERT", "UPDATE", "DELETE"]}
    missing = list(await connection.scalars(text(_RIGHTS), asked))
    if missing:
        some = ", ".join(missing[:6]) + (", ..." if len(missing) > 6 else "")
        report.fail("database.rights", f"missing on {some}", "GRANT them, or make the user the owner of the tables")
    else:
        report.ok("database.rights", "the user may read and write all tables")


def budget_of(values: dict[str, str], itself: Row[Any]) -> int:
    """Connections that users like ours may have."""
    server = int(values["max_connections"]) - int(values["superuser_reserved_connections"])
    server -= int(values.get("reserved_connections") or 0)
    limits = [int(limit) for limit in (itself.of_user, itself.of_database) if limit is not None]
    return min([server, *(limit for limit in limits if limit >= 0)])


def needed(settings: DatabaseSettings, gateways: int, workers: int) -> int:
    """Connections that a service of this size may open at once (docs/operations.md, PostgreSQL)."""
    pools = gateways * settings.database_pool_size + workers * settings.worker_pool_size
    return pools + FOR_MIGRATION + FOR_PEOPLE


def _budget(case: Case, report: Report, most: int, seen: Row[Any]) -> None:
    gateways = max(seen.gateways, 1) if case.gateways is None else case.gateways
    workers = max(seen.workers, 1) if case.workers is None else case.workers
    asked = needed(case.settings.database, gateways, workers)
    said = f"{asked} of {most} connections for {gateways} gateways and {workers} workers"
    if asked > most:
        do = "raise max_connections (or the limit of the user or database), lower the pools, or put PgBouncer before it"
        report.fail("database.connections", said, do)
    else:
        report.ok("database.connections", said)


def _bounds(report: Report, values: dict[str, str]) -> None:
    """PgBouncer does not pass ours on."""
    unset = [name for name in _BOUNDS if values[name] in ("0", "0ms")]
    if unset:
        report.warn(
            "database.bounds", f"not set for this user: {', '.join(unset)}", "ALTER ROLE ... SET (docs/operations.md)"
        )
    else:
        report.ok("database.bounds", ", ".join(f"{name} {values[name]}" for name in _BOUNDS))
