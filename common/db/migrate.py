"""Bring a database to the newest schema, and tell whether it is there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from common.db.database import WRITES, Database
from common.errors import DatabaseUnavailable
from common.names import address_of
from common.settings import DatabaseSettings

_PAUSES = (0.1, 2.0)  # seconds between two looks while waiting: the first, doubling up to the longest
_LOCK_KEY = 0x736C75696365  # "sluice": one migration at a time on PostgreSQL; SQLite has its own write lock


def migrate(url: str) -> str:
    """Run all missing steps in one transaction; safe to call from several processes at once.

    Returns the revision the database is at. Raises DatabaseUnavailable when it cannot be reached.
    """
    return asyncio.run(migrate_async(url))


async def migrate_async(url: str) -> str:
    """As `migrate`, inside a running event loop."""
    # a copying ALTER or an index on a large table may take long; a taken lock must be waited for
    database = Database(
        DatabaseSettings.model_validate({"database_url": url, "database_timeout": 60}), "sluice-migrate"
    )
    try:
        async with database.engine.execution_options(**WRITES).begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            await connection.run_sync(_upgrade)
    except (OSError, TimeoutError, OperationalError, InterfaceError) as error:
        where = address_of(url)
        raise DatabaseUnavailable(f"The database at {where} cannot be used: {_first_line(error)}") from error
    finally:
        await database.close()
    return head_revision()


async def is_current(database: Database) -> bool:
    """Whether the schema is the one this code was written for. Raises DatabaseUnavailable."""
    async with database.reading() as repository:
        connection = await repository.session.connection()
        found = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    return found == head_revision()


async def wait_until_current(
    database: Database, url: str, seconds: float, *, stop: asyncio.Event, waiting: Callable[[str], None]
) -> str:
    """Look until the schema is the one of this code, `stop` is set or `seconds` are over; at least once.

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
        current = await is_current(database)
    except DatabaseUnavailable:
        return f"no answer from {address_of(url)} (SLUICE_DATABASE_URL)"
    return "" if current else f"the database is not at schema {head_revision()}: run `sluice migrate`"


def head_revision() -> str:
    """The newest revision in `migrations/versions`."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def _first_line(error: BaseException) -> str:
    """What the driver says, without the statement and the links that SQLAlchemy adds."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause) or type(cause).__name__).splitlines()[0]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
