"""Time in SQL: one column type and two expressions, the same on SQLite and PostgreSQL.

Leases and due times are judged by the clock of the database, so that workers with skewed clocks agree. What is written
is `db_now`, what is compared with is `statement_time`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BindParameter, DateTime, Dialect, Float, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An instant in UTC with microseconds. `timestamptz` on PostgreSQL, sortable text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime: every instant needs a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class db_now(FunctionElement[datetime]):  # noqa: N801 - reads like SQL
    """The database's current time plus `offset` seconds."""

    type = UtcDateTime()
    inherit_cache = True  # the offset is a parameter, so the compiled statement can be used again

    def __init__(self, offset: float | BindParameter[float] = 0.0) -> None:
        super().__init__(offset if isinstance(offset, BindParameter) else literal(float(offset), Float()))


class statement_time(db_now):  # noqa: N801 - reads like SQL
    """The database's time at which the statement began, plus `offset` seconds: what a column is compared with.

    One value for all rows, so that PostgreSQL looks in an index for what lies before it; `db_now` it would have to
    compute anew for each row of the table. A statement that waits for a lock judges by the earlier time: what it
    finds due is due.
    """

    inherit_cache = True


NOW = db_now()
"""One for all rows that are due at once: making one costs more than reading the clock."""


@compiles(db_now, "postgresql")
def _postgresql(element: db_now, compiler: SQLCompiler, **options: Any) -> str:
    # clock_timestamp, not now(): a transaction that waited for a lock must not judge by the time it began
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(statement_time, "postgresql")
def _postgresql_statement(element: statement_time, compiler: SQLCompiler, **options: Any) -> str:
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(statement_time, "sqlite")
@compiles(db_now, "sqlite")
def _sqlite(element: db_now, compiler: SQLCompiler, **options: Any) -> str:
    # The same text form in which SQLAlchemy stores a DateTime, so that plain comparison orders instants.
    offset = f"printf('%+.3f seconds', {compiler.process(element.clauses, **options)})"
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {offset})"
