"""Bring a database to the newest schema, and tell whether it is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from common.db.database import WRITES, Database
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


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
