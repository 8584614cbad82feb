"""Starting and stopping what is measured, each in processes of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

START_SECONDS = 60.0


@contextmanager
def sluice(folder: Path, **settings: str) -> Iterator[tuple[str, Path]]:
    """The whole service by `sluice up`: URL and data folder."""
    data = folder / "data"
    command = [sys.executable, "-m", "cli.main", "up", "--port", "0", "--data-dir", str(data)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    env |= {"SLUICE_LOG_LEVEL": "warning", **settings}
    with _process(command, env, folder / "sluice.log") as process:
        url_file = data / "run" / "url"
        _wait(process, url_file.exists)
        yield url_file.read_text().strip(), data


@contextmanager
def bare(folder: Path) -> Iterator[str]:
    """The handler that drops the body: its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with _process([sys.executable, "-m", "bench.bare", str(port)], dict(os.environ), folder / "bare.log") as process:
        _wait(process, lambda: _accepts(port))
        yield f"http://127.0.0.1:{port}"


def resident(data: Path) -> dict[str, int]:
    """RSS in bytes of every part of a running service, by name."""
    found = {}
    for pid_file in sorted((data / "run").glob("*.pid")):
        found[pid_file.stem] = int(psutil.Process(int(pid_file.read_text())).memory_info().rss)
    return found


def cpu_seconds(data: Path) -> float:
    """CPU time of all gateways and workers so far."""
    total = 0.0
    for pid_file in (data / "run").glob("[gw]*-*.pid"):
        times = psutil.Process(int(pid_file.read_text())).cpu_times()
        total += times.user + times.system
    return total


@contextmanager
def _process(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def await_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Until somebody listens on the port of 127.0.0.1."""
    _wait(process, lambda: _accepts(port))


def _wait(process: subprocess.Popen[bytes], ready: object) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():  # type: ignore[operator]
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("a server did not start")
        time.sleep(0.02)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
