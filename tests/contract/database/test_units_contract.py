"""The clock, the unit of work and the migrations, the same on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select

from common.db.clock import db_now
from common.db.database import Database
from common.db.migrate import migrate_async
from common.db.models import Base
from common.db.schema import head_revision, serves_us
from common.errors import DatabaseUnavailable
from common.settings import DatabaseSettings
from tests.contract.database.rows import put, upload_of
from tests.integration.worker.rig import TENANT, new_upload


async def test_the_clock_of_the_database_moves_by_its_offset(database: Database) -> None:
    async with database.reading() as repository:
        before, now, after = (await repository.session.execute(select(db_now(-60.5), db_now(), db_now(0.25)))).one()
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)
    assert timedelta(seconds=60) < now - before < timedelta(seconds=61)
    assert timedelta(seconds=0.2) < after - now < timedelta(seconds=0.3)


async def test_an_instant_comes_back_as_it_was_whatever_its_zone(database: Database) -> None:
    tokyo = datetime.fromisoformat("2025-06-01T21:00:00.123456+09:00")
    upload = new_upload(1, expires_at=tokyo)
    await put(database, upload)
    assert (await upload_of(database, upload.id)).expires_at == tokyo


async def test_an_instant_without_zone_is_refused(database: Database) -> None:
    with pytest.raises(Exception, match="naive datetime"):
        await put(database, new_upload(1, expires_at=datetime(2025, 1, 1)))  # noqa: DTZ001


async def test_an_error_rolls_everything_back(database: Database) -> None:
    upload = new_upload(1)

    async def broken() -> None:
        async with database.transaction() as repository:
            await repository.uploads.insert(upload)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await broken()
    async with database.reading() as repository:
        assert await repository.uploads.get(TENANT, upload.id) is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("mode", ["disable", "prefer", "verify-full"])
async def test_sslmode_in_the_url_reaches_the_driver(database_url: str, mode: str) -> None:
    settings = {"database_url": f"{database_url}&sslmode={mode}", "database_timeout": 10}
    database = Database(DatabaseSettings.model_validate(settings))
    await database.ping()
    await database.close()


async def test_a_server_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    url = f"postgresql://nobody@/nothing?host={tmp_path}"
    database = Database(DatabaseSettings.model_validate({"database_url": url, "database_timeout": 1}))
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    await database.close()


# --- migrations ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    """A database without tables."""
    database = Database(DatabaseSettings.model_validate({"database_url": empty_url, "database_timeout": 10}))
    yield database
    await database.close()


async def test_a_new_database_serves_nobody_until_it_is_migrated(empty: Database, empty_url: str) -> None:
    assert not await serves_us(empty)
    assert await migrate_async(empty_url) == head_revision()
    assert await serves_us(empty)


async def test_migrating_again_and_from_two_sides_changes_nothing(empty: Database, empty_url: str) -> None:
    await asyncio.gather(migrate_async(empty_url), migrate_async(empty_url))
    await put(empty, upload := new_upload(1))
    await migrate_async(empty_url)
    assert (await upload_of(empty, upload.id)).id == upload.id


async def test_the_migrated_tables_are_those_of_the_models(database: Database) -> None:
    def columns(connection: Any) -> dict[str, set[tuple[str, bool]]]:
        found = inspect(connection)
        return {
            table: {(column["name"], bool(column["nullable"])) for column in found.get_columns(table)}
            for table in Base.metadata.tables
        }

    def indexes(connection: Any) -> set[str]:
        found = inspect(connection)
        return {
            str(index["name"])
            for table in Base.metadata.tables
            for index in found.get_indexes(table)
            if not index.get("duplicates_constraint")
        }

    async with database.engine.connect() as connection:
        made, made_indexes = await connection.run_sync(columns), await connection.run_sync(indexes)
    tables = Base.metadata.tables.values()
    assert made == {table.name: {(column.name, bool(column.nullable)) for column in table.columns} for table in tables}
    assert made_indexes == {str(index.name) for table in tables for index in table.indexes}
