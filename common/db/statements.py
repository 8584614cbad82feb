"""How statements are run: compare-and-set updates that report what they moved. Shared by the repository modules."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    CursorResult,
    Delete,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    insert,
    inspect,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningUpdate

from common.db.models import Base, File, Job, Upload

Key = tuple[str, str]
"""Tenant and id of a row."""


def unindexed(column: InstrumentedAttribute[str]) -> ColumnElement[str]:
    """The text of a column, compared after the rows were found: SQLite would take the column's index, however many
    rows it gives, over that of a range.
    """
    return column.concat("")


class Statements:
    """Base of the repository modules: holds the session of one unit of work."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def _changed(self, statement: Update | Delete) -> int:
        """Number of rows that the statement changed: 0 means that the compare of a compare-and-set failed."""
        # Rows are read afresh after a change; keeping loaded objects in step would cost a query each.
        result = await self._session.execute(statement.execution_options(synchronize_session=False))
        assert isinstance(result, CursorResult)
        return int(result.rowcount)

    async def _returned(self, statement: ReturningUpdate[Any], values: dict[str, Any] | None = None) -> Sequence[Any]:
        """The moved rows, as the database has them now. `values` are for the parameters of a statement that is kept."""
        result = await self._session.scalars(
            statement, values, execution_options={"synchronize_session": False, "populate_existing": True}
        )
        return result.all()

    async def _insert_all(self, rows: Sequence[Base]) -> None:
        """Many rows of one table in one statement. All have the same columns set, and the same SQL expressions in them.

        Past the unit of work, which costs more per row than the database does. Raises IntegrityError.
        """
        if not rows:
            return
        values = [_columns(row) for row in rows]
        computed = {name: value for name, value in values[0].items() if isinstance(value, ClauseElement)}
        plain = [{name: value for name, value in row.items() if name not in computed} for row in values]
        connection = await self._session.connection()
        await connection.execute(_insert(type(rows[0]), tuple(computed.items())), plain)


@lru_cache(maxsize=64)
def _insert(model: type[Base], computed: tuple[tuple[str, ClauseElement], ...]) -> Insert:
    """Kept, because making a statement costs more than running it. Expressions are the same if they are one object."""
    return insert(table_of(model)).values(dict(computed))


def table_of(model: type[Base]) -> Table:
    table = inspect(model).local_table
    assert isinstance(table, Table)
    return table


@cache
def by_keys(model: type[Upload | Job | File]) -> Select[Any]:
    """The rows that `named` names, for the parameters of `keyed`."""
    return select(model).where(*named_later(model))


def named_later(model: type[Upload | Job | File]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """As `named`, for statements that are kept: the keys come with the parameters, by `keyed`."""
    ids: BindParameter[Any] = bindparam("ids", expanding=True)
    keys: BindParameter[Any] = bindparam("keys", expanding=True)
    return model.id.in_(ids), tuple_(model.tenant, model.id).in_(keys)


def keyed(keys: Sequence[Key]) -> dict[str, Any]:
    return {"ids": [row_id for _, row_id in keys], "keys": list(keys)}


def named(model: type[Upload | Job | File], keys: Sequence[Key]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The rows with these tenants and ids. The first condition is what the primary key serves."""
    return model.id.in_([row_id for _, row_id in keys]), tuple_(model.tenant, model.id).in_(list(keys))


def _columns(row: Base) -> dict[str, Any]:
    """What was set on a row that is in no session, by the names of the columns."""
    given = inspect(row).dict
    return {column: given[attribute] for attribute, column in _names_of(type(row)) if attribute in given}


@cache
def _names_of(model: type[Base]) -> list[tuple[str, str]]:
    """Attributes of a model, and the columns that they stand for."""
    return [(attribute.key, attribute.columns[0].name) for attribute in inspect(model).column_attrs]
