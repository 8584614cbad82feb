"""The database as `sluice doctor` sees it: each thing broken once, on a real server."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.db.database import Database
from common.db.schema import head_revision
from common.settings import DatabaseSettings
from tests.contract.database.steps import LATER, pretend, upgrade
from tests.faults.outages.own_postgres import OwnPostgres, own_postgres
from tests.fixtures.postgres import SUPERUSER, Postgres
from tests.integration.doctor.examined import FAIL, OK, WARN, failed, found, silent_server

PASSWORD = "secret-of-the-role"
HOUR = 3600.0
ON_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def environ(database_url: str) -> dict[str, str]:
    return {"SLUICE_DATABASE_URL": database_url}


@pytest.fixture(scope="module")
def guarded(postgres_server: Postgres) -> Iterator[OwnPostgres]:
    """A server on a port that asks for a password: role `app`, who owns nothing."""
    with own_postgres(postgres_server) as cluster:
        cluster.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
        hba = f"host all {SUPERUSER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (cluster.folder / "data" / "pg_hba.conf").write_text(hba)
        cluster.stop(signal.SIGINT)
        cluster.start()
        yield cluster


def as_app(cluster: OwnPostgres, password: str = PASSWORD) -> dict[str, str]:
    return {"SLUICE_DATABASE_URL": cluster.url().replace(f"{SUPERUSER}@", f"app:{password}@")}


async def test_a_database_that_is_right_has_no_failure(environ: dict[str, str]) -> None:
    findings = await found("database", environ=environ)
    assert failed(findings) == set()
    assert findings["database.schema"].said == f"at {head_revision()}, this version needs {head_revision()}"


@ON_POSTGRES
async def test_a_server_that_may_lose_rows_is_a_warning(environ: dict[str, str]) -> None:
    findings = await found("database", environ=environ)  # the server of the tests is started without fsync
    assert findings["database.durability"].verdict == WARN
    assert "fsync" in findings["database.durability"].said


async def test_an_older_schema_says_what_to_run(database_url: str, tmp_path: Path, postgres_url: str) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}" if database_url.startswith("sqlite") else postgres_url
    database = Database(DatabaseSettings.model_validate({"database_url": url}))
    await upgrade(database, "0003")
    await database.close()
    finding = (await found("database", environ={"SLUICE_DATABASE_URL": url}))["database.schema"]
    assert (finding.verdict, finding.do) == (FAIL, "run `sluice migrate`")


@pytest.mark.parametrize(("oldest", "verdict"), [(LATER, FAIL), ("0001", OK)])
async def test_a_newer_schema_is_wrong_where_it_does_not_serve_us(
    database_url: str, environ: dict[str, str], oldest: str, verdict: str
) -> None:
    database = Database(DatabaseSettings.model_validate({"database_url": database_url}))
    await pretend(database, LATER, oldest)
    await database.close()
    assert (await found("database", environ=environ))["database.schema"].verdict == verdict


@ON_POSTGRES
async def test_a_clock_that_is_off_is_a_failure(environ: dict[str, str]) -> None:
    finding = (await found("database", environ=environ, now=lambda: time.time() + HOUR))["database.clock"]
    assert finding.verdict == FAIL
    assert "3600." in finding.said
    assert "behind" in finding.said


@ON_POSTGRES
async def test_too_few_connections_for_the_planned_size_are_a_failure(environ: dict[str, str]) -> None:
    environ |= {"SLUICE_DATABASE_POOL_SIZE": "5", "SLUICE_DATABASE_WORKER_POOL_SIZE": "3"}
    enough = (await found("database", environ=environ, gateways=10, workers=20))["database.connections"]
    assert (enough.verdict, enough.said.split()[0]) == (OK, str(10 * 5 + 20 * 3 + 2 + 8))
    few = (await found("database", environ=environ, gateways=20, workers=40))["database.connections"]
    assert few.verdict == FAIL
    assert "of 197 connections for 20 gateways and 40 workers" in few.said  # 200, and 3 for superusers


@ON_POSTGRES
async def test_processes_that_are_connected_are_counted(database_url: str, environ: dict[str, str]) -> None:
    async def workers() -> int:
        said = (await found("database", environ=environ))["database.connections"].said
        return int(said.split(" workers")[0].split()[-1])

    before = await workers()  # those of other tests use the same server
    database = Database(DatabaseSettings.model_validate({"database_url": database_url}), "sluice-worker")
    await database.ping()
    after = await workers()
    await database.close()
    assert after == before + 1 or after == 1  # where there is none, one is planned for


async def test_a_user_with_few_connections_is_a_failure(guarded: OwnPostgres) -> None:
    guarded.execute("ALTER ROLE app CONNECTION LIMIT 12")
    findings = await found("database", environ=as_app(guarded))
    assert "of 12 connections" in findings["database.connections"].said
    assert findings["database.connections"].verdict == FAIL
    assert findings["database.tls"].verdict == WARN


async def test_a_wrong_password_is_named_and_not_shown(guarded: OwnPostgres) -> None:
    findings = await found("database", environ=as_app(guarded, "another-secret"))
    assert set(findings) == {"database.reachable"}
    assert "user and password" in findings["database.reachable"].do


async def test_missing_rights_are_listed(guarded: OwnPostgres) -> None:
    database = Database(DatabaseSettings.model_validate({"database_url": guarded.url()}))
    await upgrade(database, "head")
    await database.close()
    guarded.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app")
    guarded.execute("REVOKE INSERT, UPDATE, DELETE ON uploads FROM app")
    finding = (await found("database", environ=as_app(guarded)))["database.rights"]
    assert finding.verdict == FAIL
    assert finding.said == "missing on uploads: DELETE, uploads: INSERT, uploads: UPDATE"


async def test_a_database_that_takes_no_writes_is_a_failure(guarded: OwnPostgres) -> None:
    guarded.execute("ALTER ROLE app SET default_transaction_read_only = on")
    findings = await found("database", environ=as_app(guarded))
    guarded.execute("ALTER ROLE app RESET default_transaction_read_only")
    assert findings["database.writable"].verdict == FAIL


async def test_a_database_of_another_encoding_is_a_failure(guarded: OwnPostgres) -> None:
    guarded.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    environ = {"SLUICE_DATABASE_URL": guarded.url(database="ascii")}
    assert (await found("database", environ=environ))["database.encoding"].verdict == FAIL


async def test_a_database_that_is_not_there_is_a_failure(postgres_server: Postgres) -> None:
    environ = {"SLUICE_DATABASE_URL": postgres_server.url("no_such_database")}
    finding = (await found("database", environ=environ))["database.reachable"]
    assert (finding.verdict, finding.do.split(",")[0]) == (FAIL, "create the database")


async def test_a_server_that_says_nothing_is_a_failure_in_seconds() -> None:
    with silent_server() as port:
        environ = {"SLUICE_DATABASE_URL": f"postgresql://u:secret@127.0.0.1:{port}/x"}
        began = time.monotonic()
        findings = await found("database", environ=environ, seconds=3.0)
    assert time.monotonic() - began < 10
    assert len(failed(findings)) == 1


async def test_looking_makes_no_database(tmp_path: Path) -> None:
    environ = {"SLUICE_DATABASE_URL": f"sqlite:///{tmp_path / 'folder' / 'sluice.db'}"}
    assert failed(await found("database", environ=environ)) == {"database.reachable"}
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_is_no_database_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "sluice.db").write_bytes(b"no database at all" * 1000)
    environ = {"SLUICE_DATABASE_URL": f"sqlite:///{tmp_path / 'sluice.db'}"}
    assert failed(await found("database", environ=environ)) == {"database.reachable"}
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / "sluice.db").execute("SELECT 1 FROM sqlite_master")
