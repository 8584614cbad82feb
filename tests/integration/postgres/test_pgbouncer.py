"""Behind PgBouncer in transaction mode: two transactions of one connection come to two servers, and all of it works."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from cli.main import app
from common.db.database import Database
from common.db.schema import serves_us
from common.errors import DatabaseUnavailable
from common.settings import DatabaseSettings
from common.states import JobState
from tests.contract.database.rows import claimed, job_of
from tests.fixtures.network import unused_port
from tests.fixtures.postgres import SUPERUSER, UNPRIVILEGED_ACCOUNT, Postgres
from tests.fixtures.servers import running, short_folder
from tests.integration.doctor.examined import WARN, failed, found

NAME = "behind_pgbouncer"


@pytest.fixture(scope="module")
def bouncer(postgres_server: Postgres, migrated_postgres: Callable[[str], None]) -> Iterator[str]:
    """URL of a database behind PgBouncer, which has two connections to the server for everybody."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("no pgbouncer on PATH")
    migrated_postgres(NAME)
    with short_folder("sluice-pgb-") as folder:
        port = unused_port()
        (folder / "users.txt").write_text(f'"{SUPERUSER}" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{NAME} = host={postgres_server.socket_folder} dbname={NAME}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {folder / 'users.txt'}\npool_mode = transaction\ndefault_pool_size = 2\n"
        )
        user = None
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED_ACCOUNT).pw_uid
            for path in (folder, *folder.iterdir()):
                os.chown(path, user, -1)
        ask = [str(postgres_server.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-d", NAME]
        command = [program, str(folder / "pgbouncer.ini")]
        ready = lambda: subprocess.run(ask, check=False).returncode == 0  # noqa: E731
        with running(command, Path(folder / "log"), ready, signal.SIGINT, user):
            yield f"postgresql://{SUPERUSER}@127.0.0.1:{port}/{NAME}"
    postgres_server.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def settings(url: str, pooler: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"database_url": url, "database_pooler": pooler, "database_timeout": 10})


@pytest.fixture
async def pooled(bouncer: str) -> AsyncIterator[Database]:
    database = Database(settings(bouncer, "transaction"), "sluice-gateway")
    yield database
    await database.close()


async def live(database: Database) -> str:
    """A job from its claim to its end."""
    job, lease = await claimed(database)
    async with database.transaction() as repository:
        assert await repository.jobs.renew("me", [job.id], 15) == {job.id}
        assert await repository.jobs.succeed(lease)
    return (await job_of(database, job.id)).state


async def test_units_of_work_that_cross_each_other_all_end(
    pooled: Database, bouncer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named statements of one would be missing, or another's, on the server that the other left."""
    assert await asyncio.gather(*(live(pooled) for _ in range(20))) == [JobState.SUCCEEDED] * 20
    monkeypatch.setattr("asyncpg.connection._uid", 0)  # another process numbers its statements from the beginning too
    other = Database(settings(bouncer, "transaction"))
    try:
        states = await asyncio.gather(*(live(database) for database in (pooled, other) * 10))
    finally:
        await other.close()
    assert states == [JobState.SUCCEEDED] * 20


async def test_the_schema_is_read_and_the_process_has_its_name(pooled: Database) -> None:
    assert await serves_us(pooled)
    async with pooled.reading() as repository:
        name = await repository.session.scalar(text("SELECT current_setting('application_name')"))
    assert str(name).startswith("sluice-gateway ")


async def test_without_the_setting_pgbouncer_refuses_the_connection(bouncer: str) -> None:
    database = Database(settings(bouncer, "none"))
    with pytest.raises(DatabaseUnavailable) as refused:
        await database.ping()
    assert "unsupported startup parameter" in str(refused.value.__cause__)
    await database.close()


def test_a_migration_through_a_pooler_is_refused(bouncer: str) -> None:
    environment = {"SLUICE_DATABASE_URL": bouncer, "SLUICE_DATABASE_POOLER": "transaction"}
    told = CliRunner().invoke(app, ["migrate"], env=environment)
    assert told.exit_code == 1
    assert "PostgreSQL itself" in told.output


async def test_doctor_names_the_setting_and_the_bounds_that_pgbouncer_does_not_pass_on(bouncer: str) -> None:
    environ = {"SLUICE_DATABASE_URL": bouncer}
    assert "SLUICE_DATABASE_POOLER" in (await found("database", environ=environ))["database.reachable"].do
    findings = await found("database", environ=environ | {"SLUICE_DATABASE_POOLER": "transaction"})
    assert failed(findings) == set()
    assert findings["database.bounds"].verdict == WARN
