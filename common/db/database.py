"""Connections, units of work, and the move from driver errors to ours.

SQLite is the embedded database: WAL, one file, several processes of one machine. PostgreSQL is the production one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import QueuePool

from common.db.address import parse_database_url
from common.db.postgres import Bounds, open_postgres, serving
from common.db.repository import Repository
from common.db.sqlite import BEGIN, connect
from common.db.turns import WriteTurn
from common.errors import DatabaseFull, DatabaseUnavailable
from common.settings import DatabaseSettings

Turn = AbstractAsyncContextManager[None]
WRITES = {"sluice_writes": True}
GRACE = 0.1  # seconds; the drivers' own bounds come first, where they work
BUSY_PART = 1 / 3  # of the patience with SQLite: our own writers take turns, so only a stranger can hold the lock
# What passes by itself, by the classes of SQLSTATE (PostgreSQL, appendix A): connection, serialization and deadlock,
# resources, lock, operator (restart, recovery); 25006 is a primary that has just become a replica.
_PASSING_STATES = ("08", "40", "53", "55P03", "57", "25006")
_FULL_STATE = "53100"


class Database:
    """An engine and its units of work. One per process; close it last.

    Where all connections of the pool are taken, a unit of work waits for one, up to `database_timeout` seconds.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        name: str = "sluice",
        *,
        pool_size: int | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """`name` is what the process is, for `pg_stat_activity`; `bounds` are for PostgreSQL, None: to serve."""
        self._timeout = settings.database_timeout
        self.engine = _open_engine(settings, name, pool_size or settings.database_pool_size, bounds)
        path = self.engine.url.database if self.engine.dialect.name == "sqlite" else None
        patience = settings.database_timeout
        self._turn = WriteTurn(f"{path}-turn", patience, (1 - BUSY_PART) * patience) if path else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Repository]:
        """A unit of work that writes: committed at the end, rolled back on any error.

        Raises DatabaseUnavailable within about `database_timeout` seconds when the database is away, hangs or is
        locked, DatabaseFull when its disk is; IntegrityError of SQLAlchemy passes, its meaning is the caller's.
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
            async with (
                turn,
                asyncio.timeout(self._timeout + GRACE),
                AsyncSession(engine, expire_on_commit=False) as session,
            ):
                yield session
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeoutError, TimeoutError, OSError) as error:
            ours = _as_ours(error)
            if ours is None:
                raise
            raise ours from error

    @property
    def pool_size(self) -> int:
        """Connections that this process may have."""
        return self._pool.size()

    @property
    def connections_in_use(self) -> int:
        """Connections that units of work hold at this moment."""
        return self._pool.checkedout()

    @property
    def _pool(self) -> QueuePool:
        pool = self.engine.pool
        assert isinstance(pool, QueuePool), "for both databases: the settings give it a size"
        return pool

    async def ping(self) -> None:
        """Raises DatabaseUnavailable when a trivial query cannot be answered."""
        async with self.reading() as repository:
            await repository.session.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()
        if self._turn is not None:
            self._turn.close()


def _open_engine(settings: DatabaseSettings, name: str, pool_size: int, bounds: Bounds | None) -> AsyncEngine:
    url = parse_database_url(settings.database_url)
    pool = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": settings.database_timeout}
    if url.get_backend_name() != "sqlite":
        return open_postgres(settings, url, name, bounds or serving(settings.database_timeout), **pool)
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        url, connect_args={"timeout": BUSY_PART * settings.database_timeout, "async_creator_fn": connect}, **pool
    )
    _configure_sqlite(engine)
    return engine


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
        # who only reads sees what is committed, statement by statement, as on PostgreSQL
        if connection.get_execution_options().get("sluice_writes", False):
            connection.exec_driver_sql(BEGIN)


def _as_ours(error: Exception) -> DatabaseUnavailable | None:
    """What the caller is told; None for an error that would come again."""
    if isinstance(error, DBAPIError):
        if _is_full(error):
            return DatabaseFull("The disk of the database is full. Free some space, then send the request again.")
        if _lacks_tables(error):
            return DatabaseUnavailable("The database has no tables of ours yet; run `sluice migrate`.")
        if not _is_transient(error):
            return None
    return DatabaseUnavailable("The database does not answer; send the request again later.")


def _is_transient(error: DBAPIError) -> bool:
    """Whether the same statement may work later: lost or refused connections, locks, timeouts."""
    if error.connection_invalidated or isinstance(error.orig, (OSError, TimeoutError)):
        return True
    if _state(error).startswith(_PASSING_STATES):
        return True
    words = str(error.orig).lower()
    signs = ("locked", "busy", "unable to open", "disk i/o", "timeout", "connection", "shutting down", "starting up")
    return any(sign in words for sign in signs)


def _is_full(error: DBAPIError) -> bool:
    return _state(error) == _FULL_STATE or "database or disk is full" in str(error.orig)


def _state(error: DBAPIError) -> str:
    """SQLSTATE where the driver gives one."""
    return getattr(error.orig, "sqlstate", None) or ""


def _lacks_tables(error: DBAPIError) -> bool:
    words = str(error.orig).lower()
    return "no such table" in words or ("relation" in words and "does not exist" in words)
