"""A migration beside a service that runs: it waits for others, and others do not wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from common.db.database import Database
from common.db.migrate import _LOCK_KEY, migrate_async
from common.db.schema import head_revision, serves_us
from common.errors import DatabaseUnavailable
from common.settings import DatabaseSettings
from tests.contract.database.steps import upgrade

LONGEST = 1.5  # seconds: SLUICE_DATABASE_TIMEOUT as it is if nobody sets it


def opened(url: str, name: str = "sluice-test") -> Database:
    return Database(DatabaseSettings.model_validate({"database_url": url, "database_timeout": 10}), name)


@pytest.fixture
async def first(postgres_url: str) -> AsyncIterator[Database]:
    """A database at the first step: the second takes the table `files` for itself for a moment."""
    database = opened(postgres_url)
    await upgrade(database, "0001")
    yield database
    await database.close()


@pytest.fixture
async def stranger(postgres_url: str) -> AsyncIterator[Database]:
    """Somebody else's session; what it opens stays open."""
    database = opened(postgres_url, "long-report")
    yield database
    await database.close()


async def read(database: Database) -> float:
    """How long a statement of the service takes, in seconds."""
    began = time.monotonic()
    async with database.engine.connect() as connection:
        await connection.execute(text("SELECT count(*) FROM files"))
    return time.monotonic() - began


async def test_behind_a_long_query_the_service_goes_on_and_the_migration_ends_after_it(
    first: Database, stranger: Database, postgres_url: str
) -> None:
    async with stranger.engine.connect() as report:
        await report.execute(text("SELECT count(*) FROM files"))  # and its transaction stays open
        migrating = asyncio.create_task(migrate_async(postgres_url))
        waits = [await read(first)]
        while await waiting_for_a_table(stranger) is False:
            waits.append(await read(first))
        waits += [await read(first) for _ in range(3)]
        assert not migrating.done()
    assert await migrating == head_revision()
    assert max(waits) < LONGEST
    assert await serves_us(first)


async def waiting_for_a_table(database: Database) -> bool:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'sluice-migrate%' AND wait_event_type='Lock'"
    )
    async with database.engine.connect() as connection:
        return bool(await connection.scalar(text(query)))


async def test_a_table_that_cannot_be_had_is_given_up_and_the_holder_named(
    first: Database, stranger: Database, postgres_url: str
) -> None:
    async with stranger.engine.connect() as report:
        await report.execute(text("SELECT count(*) FROM files"))
        with pytest.raises(DatabaseUnavailable, match=r"in use by others: long-report .*pid \d+"):
            await migrate_async(postgres_url, patience=0.1)
    assert await read(first) < LONGEST


async def test_a_migration_waits_for_another_and_follows_when_that_one_dies(
    first: Database, stranger: Database, postgres_url: str
) -> None:
    async with stranger.engine.connect() as other:
        pid = await other.scalar(text("SELECT pg_backend_pid()"))
        await other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
        with pytest.raises(DatabaseUnavailable, match="Another migration"):
            await migrate_async(postgres_url, patience=0.1)
        migrating = asyncio.create_task(migrate_async(postgres_url))
        async with first.engine.connect() as killer:
            await killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        assert await migrating == head_revision()
        await other.invalidate()


async def test_an_index_that_was_cut_off_is_built_again(postgres_url: str) -> None:
    database = opened(postgres_url)
    await upgrade(database, "0006")
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE INDEX ix_jobs_ended ON jobs (id)"))
        await connection.execute(
            text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_jobs_ended'::regclass")
        )
    await migrate_async(postgres_url)
    async with database.engine.connect() as connection:
        made = await connection.scalar(text("SELECT pg_get_indexdef('ix_jobs_ended'::regclass)"))
        invalid = await connection.scalar(text("SELECT count(*) FROM pg_index WHERE NOT indisvalid"))
    await database.close()
    assert "(finished_at)" in str(made)
    assert invalid == 0


async def test_writers_go_on_while_an_index_is_built(postgres_url: str) -> None:
    """The build waits for a transaction that was open before; who comes later writes meanwhile."""
    database = opened(postgres_url)
    await upgrade(database, "0006")
    insert = text("INSERT INTO storage_identity (name, storage_id) VALUES (:name, 'x')")
    async with database.engine.connect() as open_one:
        await open_one.execute(insert, {"name": "a"})
        await open_one.execute(text("UPDATE jobs SET size = size"))  # so that the build has to wait for it
        migrating = asyncio.create_task(migrate_async(postgres_url))
        while not await waiting_for_a_table(database):
            pass
        began = time.monotonic()
        async with database.engine.begin() as writer:
            await writer.execute(text("UPDATE jobs SET size = size"))
            await writer.execute(insert, {"name": "b"})
        assert time.monotonic() - began < LONGEST
        assert not migrating.done()
        await open_one.rollback()
    assert await migrating == head_revision()
    await database.close()
