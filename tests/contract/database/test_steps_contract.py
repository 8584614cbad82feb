"""Versions run side by side: each step of the migrations leaves what the version before does in working order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, BigInteger, Boolean, Column, DateTime, Integer, MetaData, String, Table, select
from sqlalchemy import ForeignKey as Key

from common.db.database import Database
from common.db.migrate import migrate_async, wait_until_served
from common.db.schema import REVISION, Schema, head_revision, schema_of, serves_us
from common.db.steps import oldest_served_by, steps
from common.errors import DatabaseUnavailable
from common.settings import DatabaseSettings
from tests.contract.database.steps import LATER, broken, pretend, tables_of, upgrade

IN_ORDER = sorted(steps().walk_revisions(), key=lambda step: step.revision)
MOMENT = datetime(2025, 6, 1, tzinfo=UTC)


def test_the_steps_are_one_line_in_the_order_of_their_numbers() -> None:
    assert all(REVISION.fullmatch(step.revision) for step in IN_ORDER)
    assert [step.down_revision for step in IN_ORDER] == [None, *(step.revision for step in IN_ORDER[:-1])]
    assert head_revision() == steps().get_current_head()


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A database without tables."""
    url = f"sqlite:///{tmp_path / 'empty.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    database = Database(DatabaseSettings.model_validate({"database_url": url, "database_timeout": 10}))
    yield database
    await database.close()


def some(column: Column[Any]) -> Any:
    """A value for the column."""
    kind = column.type
    if isinstance(kind, JSON):
        return {}
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, DateTime):
        return MOMENT if getattr(kind, "timezone", False) else MOMENT.replace(tzinfo=None)
    if isinstance(kind, Integer | BigInteger):
        return 1
    return "x"


async def write_everything(database: Database, tables: MetaData) -> None:
    """Insert, change and read a row of each table, naming every column that the version knows."""
    async with database.engine.begin() as connection:
        for table in tables.sorted_tables:
            values = {column.name: some(column) for column in table.columns}
            await connection.execute(table.insert().values(values))
            await connection.execute(table.update().values(values))
            assert (await connection.execute(select(table))).one() is not None
        for table in reversed(tables.sorted_tables):
            await connection.execute(table.delete())


async def test_no_step_takes_anything_from_the_versions_that_it_serves(empty: Database) -> None:
    known: list[tuple[str, MetaData]] = []
    for step in IN_ORDER:
        await upgrade(empty, step.revision)
        now = await tables_of(empty)
        for revision, tables in known:
            if revision >= oldest_served_by(step.revision):
                assert list(broken(tables, now)) == [], f"{revision} beside {step.revision}"
                await write_everything(empty, tables)
        known.append((step.revision, now))


def shaped(*columns: Column[Any], unique: tuple[str, ...] = ()) -> MetaData:
    """One table `files`, and one that it may refer to."""
    shape = MetaData()
    Table("uploads", shape, Column("id", String(36), primary_key=True))
    Table("files", shape, *columns, info={"unique": {unique} if unique else set()})
    return shape


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (MetaData(), "table uploads is gone"),
        (shaped(Column("label", String(9))), "column files.name is gone"),
        (shaped(Column("name", String(9), nullable=False)), "must have a value now"),
        (shaped(Column("name", String(8))), "is VARCHAR(8) and was VARCHAR(9)"),
        (shaped(Column("name", Integer)), "is INTEGER and was VARCHAR(9)"),
        (shaped(Column("name", String(9)), Column("size", Integer, nullable=False)), "files.size is new"),
        (shaped(Column("name", String(9)), unique=("name",)), "must be unique now"),
        (shaped(Column("name", String(9), Key("uploads.id"))), "refers to uploads.id now"),
    ],
)
def test_what_would_break_the_version_before_is_seen(after: MetaData, said: str) -> None:
    assert said in "; ".join(broken(shaped(Column("name", String(9))), after))


@pytest.mark.parametrize(
    "after",
    [
        shaped(Column("name", String(9)), Column("size", Integer, nullable=True)),
        shaped(Column("name", String(9)), Column("size", Integer, nullable=False, server_default="0")),
        shaped(Column("name", String(20))),
    ],
)
def test_what_the_version_before_does_not_notice_is_allowed(after: MetaData) -> None:
    assert list(broken(shaped(Column("name", String(9))), after)) == []


# --- which code may run on which schema -----------------------------------------------------------------------


async def test_a_process_starts_on_a_newer_schema_that_serves_it(database: Database) -> None:
    await pretend(database, LATER, oldest=head_revision())
    assert await serves_us(database)


async def test_a_process_refuses_a_newer_schema_that_does_not_serve_it(database: Database, database_url: str) -> None:
    await pretend(database, LATER, oldest=LATER)
    assert not await serves_us(database)
    reason = await wait_until_served(database, database_url, 0, stop=asyncio.Event(), waiting=lambda _: None)
    assert (
        reason
        == f"the database is at schema {LATER}, too new for this version ({head_revision()}): run one from {LATER} on"
    )


async def test_a_process_refuses_an_older_schema(empty: Database) -> None:
    before = str(IN_ORDER[-1].down_revision)
    await upgrade(empty, before)
    assert not await serves_us(empty)
    assert "run `sluice migrate`" in (await schema_of(empty)).trouble_for(head_revision())


async def test_migrating_with_an_old_version_leaves_a_newer_schema_as_it_is(
    database: Database, database_url: str
) -> None:
    await pretend(database, LATER)
    assert await migrate_async(database_url) == LATER
    assert await schema_of(database) == Schema(LATER, "0001")


async def test_migrating_with_a_version_that_is_too_old_says_so(database: Database, database_url: str) -> None:
    await pretend(database, LATER, oldest=LATER)
    with pytest.raises(DatabaseUnavailable, match="too new for this version"):
        await migrate_async(database_url)


async def test_a_step_that_needs_a_version_says_so_in_the_database(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = steps().get_revision(head_revision())
    monkeypatch.setattr(last.module, "serves", str(last.down_revision), raising=False)
    await upgrade(empty, "head")
    assert await schema_of(empty) == Schema(head_revision(), str(last.down_revision))


@pytest.mark.parametrize("revision", [None, "3f2a9c", "0001x"])
def test_what_is_no_schema_of_ours_serves_nobody(revision: str | None) -> None:
    assert not Schema(revision).serves("0001")
    assert Schema(revision).trouble_for("0001")
