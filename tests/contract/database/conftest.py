"""`database`: an open, migrated database, once on SQLite and once on PostgreSQL."""

from collections.abc import AsyncIterator

import pytest

from common.db.database import Database
from common.settings import DatabaseSettings


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    settings = {"database_url": database_url, "database_timeout": 10}
    database = Database(DatabaseSettings.model_validate(settings))
    yield database
    await database.close()
