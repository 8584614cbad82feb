"""Bring a database to the newest schema, and tell whether it is there."""

from __future__ import annotations

import asyncio
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
