"""`postgres_database`: an open, migrated database on PostgreSQL; `crowd`: one with 100,000 rows in each table."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from common.db.database import Database
from common.settings import DatabaseSettings
from tests.fixtures.postgres import Postgres
from tests.integration.postgres.crowd import Crowd, fill


@pytest.fixture(scope="session")
def crowd(postgres_server: Postgres, migrated_postgres: Callable[[str], None]) -> Iterator[Crowd]:
    """Made once (7 s); tests roll back what they change."""
    migrated_postgres("crowd")
    yield fill(postgres_server.url("crowd"))
    postgres_server.execute("DROP DATABASE crowd WITH (FORCE)")


@pytest.fixture
async def crowded(crowd: Crowd) -> AsyncIterator[Database]:
    """The crowd, opened."""
    database = Database(DatabaseSettings.model_validate({"database_url": crowd.url, "database_timeout": 10}))
    yield database
    await database.close()
