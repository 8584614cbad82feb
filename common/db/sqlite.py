"""SQLite through aiosqlite, one hop to its thread for each statement.

aiosqlite makes a cursor, executes, fetches and closes in four hops. While a write transaction makes them it holds the
only write lock there is, so the hops of one process are the waiting time of all others (measured: docs/performance.md).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

import aiosqlite

Row = tuple[Any, ...]

BEGIN = "BEGIN IMMEDIATE"
"""A transaction that reads first and writes later would fail at once instead of waiting its turn."""


class OneHopCursor:
    """What SQLAlchemy asks of an aiosqlite cursor. All rows are fetched with the statement: our pages are bounded."""

    def __init__(self, connection: OneHopConnection) -> None:
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1
        self._connection = connection
        self._rows: list[Row] = []

    async def __aenter__(self) -> OneHopCursor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> OneHopCursor:
        if sql == BEGIN:
            self._connection.begins = True
            return self
        return await self._run(lambda cursor: cursor.execute(sql, parameters))

    async def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> OneHopCursor:
        return await self._run(lambda cursor: cursor.executemany(sql, parameters))

    async def fetchall(self) -> list[Row]:
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Closed in its thread already."""

    async def _run(self, statement: Callable[[sqlite3.Cursor], Any]) -> OneHopCursor:
        begins, self._connection.begins = self._connection.begins, False
        await self._connection.in_thread(self._go, statement, begins)
        return self

    def _go(self, connection: sqlite3.Connection, statement: Callable[[sqlite3.Cursor], Any], begins: bool) -> None:
        cursor = connection.cursor()
        try:
            if begins:
                cursor.execute(BEGIN)
            statement(cursor)
            self._rows = cursor.fetchall() if cursor.description else []
            self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
        finally:
            cursor.close()


class OneHopConnection(aiosqlite.Connection):
    """An aiosqlite connection whose cursors are ours. A transaction begins in the hop of its first statement."""

    begins = False

    async def commit(self) -> None:
        if not self._without_statement():
            await super().commit()

    async def rollback(self) -> None:
        if not self._without_statement():
            await super().rollback()

    def _without_statement(self) -> bool:
        """Whether there is nothing to end: no transaction, or one in which nothing was done."""
        self.begins = False
        return not self.in_transaction

    def cursor(self) -> OneHopCursor:  # type: ignore[override]
        return OneHopCursor(self)

    async def in_thread(self, work: Callable[..., None], *arguments: Any) -> None:
        """Run `work(sqlite3 connection, *arguments)` in the connection's thread."""
        await self._execute(work, self._conn, *arguments)  # type: ignore[no-untyped-call]


def connect(database: str, **options: Any) -> OneHopConnection:
    """As `aiosqlite.connect`; the thread does not keep a process alive that ends without closing."""
    connection = OneHopConnection(lambda: sqlite3.connect(database, **options), iter_chunk_size=64)
    connection._thread.daemon = True  # as SQLAlchemy does for connections that it makes itself
    return connection
