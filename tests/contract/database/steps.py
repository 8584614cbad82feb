"""Databases at any step of the migrations, and what a step took away from the version before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic import command
from sqlalchemy import Column, Connection, MetaData, Table, inspect, text

from common.db.database import WRITES, Database
from common.db.steps import alembic_config

OURS = ("alembic_version", "schema_floor")  # the migration's own: no statement of a version uses them

LATER = "9000"  # the revision of a version that is not written yet


async def pretend(database: Database, revision: str, oldest: str = "0001") -> None:
    """The database has been migrated by a later version, which serves versions from `oldest` on."""
    async with database.engine.begin() as connection:
        await connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
        await connection.execute(text(f"UPDATE schema_floor SET oldest = '{oldest}'"))


async def upgrade(database: Database, revision: str) -> None:
    """Run the steps up to `revision`."""

    def run(connection: Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    if database.engine.dialect.name == "sqlite":
        async with database.engine.execution_options(**WRITES).begin() as connection:
            await connection.run_sync(run)
        return
    async with database.engine.connect() as connection:
        await connection.run_sync(run)


async def tables_of(database: Database) -> MetaData:
    """The tables as they are in the database."""
    found = MetaData()
    async with database.engine.connect() as connection:
        await connection.run_sync(found.reflect)
        indexes = await connection.run_sync(_unique_indexes)
    for name in OURS:
        if name in found.tables:
            found.remove(found.tables[name])
    for table in found.tables.values():
        table.info["unique"] = indexes[table.name]
    return found


def _unique_indexes(connection: Connection) -> dict[str, set[tuple[str, ...]]]:
    """What must not occur twice, by table: sets of columns."""
    about = inspect(connection)
    found: dict[str, set[tuple[str, ...]]] = {}
    for table in about.get_table_names():
        constraints = [tuple(one["column_names"]) for one in about.get_unique_constraints(table)]
        indexes = [tuple(map(str, one["column_names"])) for one in about.get_indexes(table) if one["unique"]]
        found[table] = {*constraints, *indexes}
    return found


def broken(before: MetaData, after: MetaData) -> Iterator[str]:
    """What statements of the version before cannot live with, in words."""
    for name, table in before.tables.items():
        if name not in after.tables:
            yield f"table {name} is gone"
        else:
            yield from _broken_table(table, after.tables[name])


def _broken_table(before: Table, after: Table) -> Iterator[str]:
    for column in before.columns:
        if column.name not in after.columns:
            yield f"column {column} is gone"
        else:
            yield from _broken_column(column, after.columns[column.name])
    for column in after.columns:
        if column.name not in before.columns and not column.nullable and column.server_default is None:
            yield f"column {column} is new, and its value is asked of those who do not know it"
    for columns in after.info.get("unique", set()) - before.info.get("unique", set()):
        yield f"{after.name} {columns} must be unique now"
    new_keys = {key.target_fullname for key in after.foreign_keys} - {
        key.target_fullname for key in before.foreign_keys
    }
    for key in new_keys:
        yield f"{after.name} refers to {key} now"


def _broken_column(before: Column[Any], after: Column[Any]) -> Iterator[str]:
    if before.nullable and not after.nullable:
        yield f"column {after} must have a value now"
    if str(before.type) != str(after.type) and not _wider(before, after):
        yield f"column {after} is {after.type} and was {before.type}"


def _wider(before: Column[Any], after: Column[Any]) -> bool:
    lengths = getattr(before.type, "length", None), getattr(after.type, "length", None)
    same_kind = type(before.type) is type(after.type)
    return same_kind and lengths[0] is not None and (lengths[1] is None or lengths[1] >= lengths[0])
