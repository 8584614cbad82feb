"""PostgreSQL: what a connection is opened with, so that a process that dies or hangs does not hold up the others.

The server ends a statement, a wait for a lock and an idle transaction by itself, a little before the client would: a
client that gives up first has to open another connection to say so. Each process says its name.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, ExceptionContext, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from common.db.address import connection_address
from common.settings import DatabaseSettings

READ_ONLY = "25006"  # SQLSTATE of a write where none is taken
LONGEST_NAME = 63  # bytes that PostgreSQL keeps of an application_name
KEEPALIVE = {"idle": 30, "interval": 10, "count": 3}  # seconds, seconds, probes: a lost peer is known after a minute
_CLIENT_KEEPALIVE = {
    "idle": socket.TCP_KEEPIDLE,
    "interval": socket.TCP_KEEPINTVL,
    "count": socket.TCP_KEEPCNT,
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the server allows a session, in seconds; 0: no bound. `idle` is that of an open transaction."""

    statement: float
    lock: float
    idle: float

    def as_settings(self) -> dict[str, str]:
        return {
            "statement_timeout": _milliseconds(self.statement),
            "lock_timeout": _milliseconds(self.lock),
            "idle_in_transaction_session_timeout": _milliseconds(self.idle),
        }


def serving(timeout: float) -> Bounds:
    """For gateways and workers, who wait `timeout` seconds themselves.

    A process that hangs inside a transaction would keep its row locks: no unit of work lasts as long as `idle`.
    """
    return Bounds(statement=0.9 * timeout, lock=0.8 * timeout, idle=timeout + 1)


def process_name(kind: str) -> str:
    """`application_name` of this process: what it is, the machine or pod, the process id."""
    ending = f" {os.getpid()}"
    room = LONGEST_NAME - len(f"{kind} {ending}".encode())
    host = socket.gethostname().encode()[-room:].decode(errors="ignore")  # the names of pods differ at their end
    return f"{kind} {host}{ending}"


def open_postgres(settings: DatabaseSettings, url: URL, name: str, bounds: Bounds, **pool: Any) -> AsyncEngine:
    """An engine that has connected to nothing yet. `name` is what the process is."""
    from common.db.goodbye import PromptConnection  # with its driver: 60 ms and 2 MiB of a process

    url, options = connection_address(url)
    server = {"application_name": process_name(name), "jit": "off", **bounds.as_settings()}
    server |= {f"tcp_keepalives_{what}": str(value) for what, value in KEEPALIVE.items()}
    engine = create_async_engine(
        url,
        pool_pre_ping=True,
        connect_args={
            **options,
            "connection_class": PromptConnection,
            "timeout": settings.database_timeout,
            "command_timeout": settings.database_timeout if bounds.statement else None,
            **(_through_pooler(server) if settings.database_pooler == "transaction" else {"server_settings": server}),
        },
        **pool,
    )
    event.listen(engine.sync_engine, "connect", _keep_alive)
    event.listen(engine.sync_engine, "handle_error", _leave_a_replica)
    return engine


def _through_pooler(server: dict[str, str]) -> dict[str, Any]:
    """Two transactions of one connection may come to two servers: nothing of a session may be relied on.

    Statements are prepared without a name, which lives until the next one. PgBouncer takes no settings but the name of
    the process; the role has them (docs/operations.md).
    """
    return {
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "server_settings": {"application_name": server["application_name"]},
    }


def _keep_alive(connection: Any, record: Any) -> None:
    """An idle connection whose server is gone is found by the kernel, not by the next request."""
    del record
    ours = connection.driver_connection._transport.get_extra_info("socket")
    if ours is None or ours.family == socket.AF_UNIX:
        return
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for what, option in _CLIENT_KEEPALIVE.items():
        ours.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE[what])


def _leave_a_replica(context: ExceptionContext) -> None:
    """After a failover the connections lead to what was the primary and still answers: the pool is made anew."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _milliseconds(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"
