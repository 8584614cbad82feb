"""Bring a database to the newest schema, or wait until somebody else has."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from common.db.database import WRITES, Database
from common.db.postgres import Bounds
from common.db.schema import head_revision, read_schema, schema_of
from common.errors import DatabaseUnavailable
from common.names import address_of
from common.settings import DatabaseSettings

PATIENCE = 300.0  # seconds to wait for another migration, and for tables that a long query keeps
CONNECT_SECONDS = 10.0
# Who waits for a table makes everybody wait who comes after: less than SLUICE_DATABASE_TIMEOUT, and then again later.
TABLE_WAIT = 0.5  # seconds
_BOUNDS = Bounds(statement=0, lock=TABLE_WAIT, idle=0)  # an index on a large table takes its time
_PAUSES = (0.1, 2.0)  # seconds between two looks while waiting: the first, doubling up to the longest
_LOCK_KEY = 0x736C75696365  # "sluice": one migration at a time on PostgreSQL; SQLite has its own write lock
_LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE


def migrate(url: str, patience: float = PATIENCE) -> str:
    """Run all missing steps; safe to call from several processes at once, beside a service that runs.

    Returns the revision the database is at, which may be newer than this code. Raises DatabaseUnavailable when it
    cannot be reached, is too new for this code, or when a table could not be had within `patience` seconds.
    """
    return asyncio.run(migrate_async(url, patience))


async def migrate_async(url: str, patience: float = PATIENCE) -> str:
    """As `migrate`, inside a running event loop."""
    settings = DatabaseSettings.model_validate({"database_url": url, "database_timeout": CONNECT_SECONDS})
    database = Database(settings, "sluice-migrate", bounds=_BOUNDS)
    try:
        if database.engine.dialect.name == "sqlite":
            async with database.engine.execution_options(**WRITES).begin() as connection:
                return await connection.run_sync(_upgrade)
        return await _migrate_postgres(database, time.monotonic() + patience)
    except (OSError, TimeoutError, OperationalError, InterfaceError) as error:
        where = address_of(url)
        raise DatabaseUnavailable(f"The database at {where} cannot be used: {_first_line(error)}") from error
    finally:
        await database.close()


async def _migrate_postgres(database: Database, deadline: float) -> str:
    """Each step in a transaction of its own; what has been done stays done, whatever happens to the next one."""
    async with _alone(database, deadline), database.engine.connect() as connection:
        pause, longest = _PAUSES
        while True:
            try:
                return await connection.run_sync(_upgrade)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                    raise
                if time.monotonic() >= deadline:
                    raise DatabaseUnavailable(f"A table is in use by others: {await _busy(connection)}.") from error
            await connection.rollback()
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)


@contextlib.asynccontextmanager
async def _alone(database: Database, deadline: float) -> AsyncIterator[None]:
    """While no other migration runs. The lock is that of a session: it ends with its connection, in whatever way.

    Asked for again and again, outside a transaction: who waits inside the server, or has a transaction open, keeps up
    an index that is being built beside the service.
    """
    async with database.engine.connect() as plain:
        connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
        while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}):
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable("Another migration is running and does not end.")
            await asyncio.sleep(_PAUSES[0])
        try:
            yield
        finally:
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})


async def _busy(connection: AsyncConnection) -> str:
    """Who may be in the way, for the operator: names of processes with an open transaction, no statements."""
    await connection.rollback()
    open_ones = await connection.execute(
        text(
            "SELECT pid, application_name, round(extract(epoch FROM clock_timestamp() - xact_start)) AS seconds "
            "FROM pg_stat_activity WHERE datname = current_database() AND xact_start < now() - :wait * interval '1 s' "
            "AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 5"
        ),
        {"wait": TABLE_WAIT},
    )
    named = [f"{row.application_name or 'a session'} (pid {row.pid}, {row.seconds} s)" for row in open_ones]
    return ", ".join(named) or "a session that has just ended"


async def wait_until_served(
    database: Database, url: str, seconds: float, *, stop: asyncio.Event, waiting: Callable[[str], None]
) -> str:
    """Look until the schema serves this code, `stop` is set or `seconds` are over; at least once.

    Returns what is in the way, in words for the operator; empty when nothing is. `waiting` is told it once. `url` is
    the address of `database`.
    """
    deadline = time.monotonic() + seconds
    pause, longest = _PAUSES
    told = False
    while True:
        reason = await _in_the_way(database, url)
        if not reason or stop.is_set() or time.monotonic() >= deadline:
            return reason
        if not told:
            waiting(reason)
        told = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(pause, deadline - time.monotonic())):
                await stop.wait()
        pause = min(2 * pause, longest)


async def _in_the_way(database: Database, url: str) -> str:
    try:
        return (await schema_of(database)).trouble_for(head_revision())
    except DatabaseUnavailable:
        return f"no answer from {address_of(url)} (SLUICE_DATABASE_URL)"


def _first_line(error: BaseException) -> str:
    """What the driver says, without the statement and the links that SQLAlchemy adds."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause) or type(cause).__name__).splitlines()[0]


def _upgrade(connection: Connection) -> str:
    found = read_schema(connection)
    if found.revision is not None and found.revision >= head_revision():
        if trouble := found.trouble_for(head_revision()):
            raise DatabaseUnavailable(trouble[0].upper() + trouble[1:] + ".")
        return found.revision
    if connection.dialect.name == "postgresql":
        connection.rollback()  # each step begins its own transaction
    from alembic import command  # not for a service that only waits

    from common.db.steps import alembic_config

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return head_revision()
