"""What a process asks of its connections: a name, bounds, and a pool that is waited for."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import text

from common.db.database import Database
from common.db.postgres import LONGEST_NAME, process_name
from common.errors import DatabaseUnavailable
from common.settings import DatabaseSettings
from tests.contract.database.rows import put, queued
from tests.faults.outages.own_postgres import OwnPostgres, own_postgres
from tests.fixtures.postgres import Postgres
from tests.integration.worker.rig import new_upload

ON_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
TIMEOUT = 1.0  # seconds


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(settings(database_url, database_pool_size=2), "sluice-worker")
    yield database
    await database.close()


@pytest.fixture(scope="module")
def on_tcp(postgres_server: Postgres) -> Iterator[OwnPostgres]:
    """A server that listens on a port of the loopback interface."""
    with own_postgres(postgres_server) as cluster:
        yield cluster


def settings(url: str, **more: object) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"database_url": url, "database_timeout": TIMEOUT, **more})


async def shown(database: Database, name: str) -> str:
    async with database.reading() as repository:
        return str(await repository.session.scalar(text(f"SHOW {name}")))


@ON_POSTGRES
async def test_each_process_says_what_it_is_and_where(database: Database) -> None:
    assert await shown(database, "application_name") == f"sluice-worker {socket.gethostname()} {os.getpid()}"


def test_a_long_name_of_a_pod_keeps_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "release-" * 10 + "gateway-7d4f-x2x9q")
    name = process_name("sluice-gateway")
    assert len(name) == LONGEST_NAME
    assert name.startswith("sluice-gateway ")
    assert name.endswith(f"gateway-7d4f-x2x9q {os.getpid()}")


@ON_POSTGRES
async def test_the_server_ends_by_itself_what_we_would_not_wait_for(database: Database) -> None:
    asked = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    assert [await shown(database, name) for name in asked] == ["900ms", "800ms", "2s"]


@ON_POSTGRES
async def test_a_statement_that_takes_too_long_is_ended_and_its_connection_kept(database: Database) -> None:
    async with database.reading() as repository:
        before = await repository.session.scalar(text("SELECT pg_backend_pid()"))
    with pytest.raises(DatabaseUnavailable):
        async with database.reading() as repository:
            await repository.session.execute(text("SELECT pg_sleep(30)"))
    async with database.reading() as repository:
        assert await repository.session.scalar(text("SELECT pg_backend_pid()")) == before


@ON_POSTGRES
async def test_a_row_that_another_has_locked_is_given_up_in_time(database: Database) -> None:
    job = await queued(database)
    async with database.transaction() as holder:
        assert await holder.jobs.claim([job.id], "one", 15)
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as other:
                await other.jobs.still_hangs([job.id])


@ON_POSTGRES
async def test_who_finds_the_pool_empty_waits_for_a_connection(database: Database) -> None:
    held = [database.reading() for _ in range(2)]
    for one in held:
        await (await one.__aenter__()).session.execute(text("SELECT 1"))
    waiting = asyncio.create_task(database.ping())
    await asyncio.sleep(0)
    assert not waiting.done()
    await held[0].__aexit__(None, None, None)
    await waiting
    async with database.reading() as again:
        await again.session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable):
            await database.ping()  # all are taken, and nobody gives one back in time
    await held[1].__aexit__(None, None, None)


@ON_POSTGRES
async def test_after_a_failover_new_connections_are_made(database: Database, database_url: str) -> None:
    """What was the primary goes on answering, and takes no writes; here: the sessions that are open do not."""
    await put(database, new_upload(1))
    async with database.engine.connect() as connection:
        await connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
        await connection.commit()
    with pytest.raises(DatabaseUnavailable):
        await put(database, new_upload(1))
    await put(database, new_upload(1))


async def test_a_worker_may_keep_another_number_of_connections() -> None:
    assert settings("sqlite:///x.db", database_pool_size=7).worker_pool_size == 7
    assert settings("sqlite:///x.db", database_pool_size=7, database_worker_pool_size=3).worker_pool_size == 3


async def test_both_ends_of_a_connection_notice_that_the_other_is_gone(on_tcp: OwnPostgres) -> None:
    database = Database(settings(on_tcp.url()), "sluice-gateway")
    assert await shown(database, "tcp_keepalives_idle") == "30"
    async with database.engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        ours = raw._transport.get_extra_info("socket")
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    await database.close()


@ON_POSTGRES
async def test_what_is_written_is_read_back(database: Database) -> None:
    await put(database, upload := new_upload(1))
    async with database.reading() as repository:
        assert await repository.uploads.get(upload.tenant, upload.id) is not None
