"""How statements are run: compare-and-set updates that report what they moved. Shared by the repository modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ClauseElement, ColumnElement, CursorResult, Delete, Table, Update, insert, inspect, tuple_
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

    async def _returned(self, statement: ReturningUpdate[Any]) -> Sequence[Any]:
        """The moved rows, as the database has them now."""
        result = await self._session.scalars(
            statement, execution_options={"synchronize_session": False, "populate_existing": True}
        )
        return result.all()

    async def _insert_all(self, rows: Sequence[Base]) -> None:
        """Many rows of one table in one statement. All have the same columns set, and the same SQL expressions in them.

        Past the unit of work, which costs more per row than the database does. Raises IntegrityError.
        """
        if not rows:
            return
        table = table_of(type(rows[0]))
        values = [_columns(row) for row in rows]
        computed = {name: value for name, value in values[0].items() if isinstance(value, ClauseElement)}
        plain = [{name: value for name, value in row.items() if name not in computed} for row in values]
        connection = await self._session.connection()
        await connection.execute(insert(table).values(computed), plain)


def table_of(model: type[Base]) -> Table:
    table = inspect(model).local_table
    assert isinstance(table, Table)
    return table


def named(model: type[Upload | Job | File], keys: Sequence[Key]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The rows with these tenants and ids. The first condition is what the primary key serves."""
    return model.id.in_([row_id for _, row_id in keys]), tuple_(model.tenant, model.id).in_(list(keys))


def _columns(row: Base) -> dict[str, Any]:
    """What was set on a row that is in no session, by the names of the columns."""
    state = inspect(row)
    return {
        attribute.columns[0].name: state.dict[attribute.key]
        for attribute in state.mapper.column_attrs
        if attribute.key in state.dict
    }
