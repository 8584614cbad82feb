"""TLS to PostgreSQL with an authority of one's own: `verify-full` takes the right server and no other."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from common.db.database import Database
from common.errors import DatabaseUnavailable
from common.settings import DatabaseSettings
from tests.faults.outages.own_postgres import OwnPostgres, own_postgres
from tests.fixtures.postgres import Postgres

SERVER = "localhost"  # the name in the certificate; the address 127.0.0.1 is not in it


def with_tls() -> Path:
    """The programs of a PostgreSQL that was built with OpenSSL; the one in the wheel is not."""
    on_path = shutil.which("pg_config")
    found = [Path(on_path)] if on_path else []
    for config in [*found, *sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_config"), reverse=True)]:
        built = subprocess.run([config, "--configure"], capture_output=True, text=True).stdout
        if "openssl" in built and (config.parent / "postgres").exists():
            return config.parent
    pytest.skip("no PostgreSQL with TLS on PATH or below /usr/lib/postgresql")


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def authority(folder: Path) -> Path:
    """A self-made authority; its certificate."""
    folder.mkdir()
    subject = ("-subj", f"/CN={folder.name}", "-days", "2", "-nodes", "-newkey", "rsa:2048")
    openssl(folder, "req", "-x509", *subject, "-keyout", "ca.key", "-out", "ca.pem")
    return folder / "ca.pem"


@pytest.fixture(scope="module")
def secured(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OwnPostgres, Path]]:
    """A server with a certificate for `localhost` that takes nobody without TLS, and its authority."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on PATH to make certificates with")
    trusted = authority(tmp_path_factory.mktemp("tls") / "ours")
    folder = trusted.parent
    request = ("-subj", f"/CN={SERVER}", "-nodes", "-newkey", "rsa:2048", "-keyout", "server.key", "-out", "server.csr")
    openssl(folder, "req", *request)
    (folder / "names").write_text(f"subjectAltName=DNS:{SERVER}\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl(folder, "x509", "-req", "-in", "server.csr", *signing, "-out", "server.pem")
    with own_postgres(Postgres(with_tls(), postgres_server.socket_folder)) as cluster:
        data = cluster.folder / "data"
        for name in ("server.key", "server.pem"):
            shutil.copy(folder / name, data / name)
            (data / name).chmod(0o600)
            if cluster.user is not None:
                os.chown(data / name, cluster.user, -1)
        with (data / "postgresql.conf").open("a") as lines:
            lines.write("ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n")
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\nlocal all all trust\n")
        cluster.stop(signal.SIGINT)
        cluster.start()
        yield cluster, trusted


async def encrypted(cluster: OwnPostgres, host: str, **query: object) -> bool:
    """Whether a connection to `host` speaks TLS. Raises DatabaseUnavailable when there is none."""
    words = "&".join(f"{name}={value}" for name, value in query.items())
    url = cluster.url().replace("127.0.0.1", host) + f"?{words}"
    database = Database(DatabaseSettings.model_validate({"database_url": url, "database_timeout": 10}))
    try:
        async with database.reading() as repository:
            found = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            return bool(await repository.session.scalar(found))
    finally:
        await database.close()


async def test_the_right_server_is_taken(secured: tuple[OwnPostgres, Path]) -> None:
    cluster, trusted = secured
    assert await encrypted(cluster, SERVER, sslmode="verify-full", sslrootcert=trusted)


async def test_a_server_of_another_name_is_refused(secured: tuple[OwnPostgres, Path]) -> None:
    cluster, trusted = secured
    with pytest.raises(DatabaseUnavailable) as refused:
        await encrypted(cluster, "127.0.0.1", sslmode="verify-full", sslrootcert=trusted)
    assert isinstance(refused.value.__cause__, ssl.SSLCertVerificationError)
    assert await encrypted(cluster, "127.0.0.1", sslmode="verify-ca", sslrootcert=trusted)


async def test_a_server_of_another_authority_is_refused(secured: tuple[OwnPostgres, Path], tmp_path: Path) -> None:
    cluster, _ = secured
    with pytest.raises(DatabaseUnavailable) as refused:
        await encrypted(cluster, SERVER, sslmode="verify-full", sslrootcert=authority(tmp_path / "theirs"))
    assert isinstance(refused.value.__cause__, ssl.SSLCertVerificationError)


async def test_the_authorities_of_the_system_do_not_vouch_for_ours(secured: tuple[OwnPostgres, Path]) -> None:
    with pytest.raises(DatabaseUnavailable):
        await encrypted(secured[0], SERVER, sslmode="verify-full")


async def test_require_encrypts_without_asking_who_it_is(secured: tuple[OwnPostgres, Path]) -> None:
    assert await encrypted(secured[0], "127.0.0.1", sslmode="require")


async def test_a_server_that_wants_tls_refuses_who_speaks_plainly(secured: tuple[OwnPostgres, Path]) -> None:
    with pytest.raises(Exception, match=r"pg_hba.conf|does not answer"):
        await encrypted(secured[0], "127.0.0.1", sslmode="disable")
