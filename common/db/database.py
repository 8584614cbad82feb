"""Connections, units of work, and the move from driver errors to ours.

SQLite is the embedded database: WAL, one file, several processes of one machine. PostgreSQL is the production one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from common.db.repository import Repository
from common.db.sqlite import connect
from common.db.turns import WriteTurn
from common.errors import DatabaseUnavailable
from common.settings import DatabaseSettings

Turn = AbstractAsyncContextManager[None]
WRITES = {"sluice_writes": True}


class Database:
    """An engine and its units of work. One per process; close it last."""

    def __init__(self, settings: DatabaseSettings, application_name: str = "sluice") -> None:
        self._timeout = settings.database_timeout
        self.engine = _open_engine(settings, application_name)
        path = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        self._turn = WriteTurn(f"{path}-turn", settings.database_timeout) if path else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Repository]:
        """A unit of work that writes: committed at the end, rolled back on any error.

        Raises DatabaseUnavailable within about `database_timeout` seconds when the database is away, hangs or is
        locked; IntegrityError of SQLAlchemy passes, its meaning is the caller's.
        """
        async with self._session(WRITES, self._turn or nullcontext()) as session, session.begin():
            yield Repository(session)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Repository]:
        """A unit of work that only reads. Raises DatabaseUnavailable as `transaction` does."""
        async with self._session({}, nullcontext()) as session:
            yield Repository(session)

    @asynccontextmanager
    async def _session(self, options: dict[str, Any], turn: Turn) -> AsyncIterator[AsyncSession]:
        engine = self.engine.execution_options(**options)
        try:
            # the drivers' own bounds come first, where they work
            async with (
                turn,
                asyncio.timeout(self._timeout + 0.3),
                AsyncSession(engine, expire_on_commit=False) as session,
            ):
                yield session
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeoutError, TimeoutError, OSError) as error:
            if isinstance(error, DBAPIError) and _lacks_tables(error):
                raise DatabaseUnavailable("The database has no tables of ours yet; run `sluice migrate`.") from error
            if isinstance(error, DBAPIError) and not _is_transient(error):
                raise
            raise DatabaseUnavailable("The database does not answer; send the request again later.") from error

    async def ping(self) -> None:
        """Raises DatabaseUnavailable when a trivial query cannot be answered."""
        async with self.reading() as repository:
            await repository.session.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()
        if self._turn is not None:
            self._turn.close()


def async_url(url: str) -> URL:
    """The URL with the async driver that we use; a SQLite path gets its folder."""
    parsed = make_url(url)
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[parsed.get_backend_name()]
    return parsed.set(drivername=driver)


def _open_engine(settings: DatabaseSettings, application_name: str) -> AsyncEngine:
    url = async_url(settings.database_url)
    pool = {"pool_size": settings.database_pool_size, "max_overflow": 0, "pool_timeout": settings.database_timeout}
    if url.get_backend_name() == "sqlite":
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(
            url, connect_args={"timeout": settings.database_timeout, "async_creator_fn": connect}, **pool
        )
        _configure_sqlite(engine)
        return engine
    return create_async_engine(
        url,
        pool_pre_ping=True,
        connect_args={
            "timeout": settings.database_timeout,
            "command_timeout": settings.database_timeout,
            "server_settings": {"application_name": application_name, "jit": "off"},
        },
        **pool,
    )


def _configure_sqlite(engine: AsyncEngine) -> None:
    """WAL with full synchronisation (what was answered survives power loss), and explicit BEGIN."""

    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, record: Any) -> None:
        del record
        connection.isolation_level = None  # the driver must not begin transactions on its own
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Connection) -> None:
        # IMMEDIATE: a transaction that reads first and writes later would fail at once instead of waiting its turn
        writes = connection.get_execution_options().get("sluice_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _is_transient(error: DBAPIError) -> bool:
    """Whether the same statement may work later: lost or refused connections, locks, timeouts."""
    if error.connection_invalidated or isinstance(error.orig, (OSError, TimeoutError)):
        return True
    words = str(error.orig).lower()
    signs = ("locked", "busy", "unable to open", "disk i/o", "timeout", "connection", "shutting down", "starting up")
    return any(sign in words for sign in signs)


def _lacks_tables(error: DBAPIError) -> bool:
    words = str(error.orig).lower()
    return "no such table" in words or ("relation" in words and "does not exist" in words)
