"""Starting and stopping what is measured, each in processes of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.rivals.catalogue import Rival
from bench.rivals.install import Missing

START_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """What runs: its address, the protocol that the driver speaks to it, and its processes by part."""

    name: str
    speaks: str
    url: str
    pids: Mapping[str, int]
    folder: Path
    rival: Rival | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, by part; children that are alive count with their parents."""
        return {part: _cpu(pid) for part, pid in self.pids.items()}

    def rss(self) -> dict[str, int]:
        """Resident bytes, by part."""
        return {part: int(psutil.Process(pid).memory_info().rss) for part, pid in self.pids.items()}


def _cpu(pid: int) -> float:
    process = psutil.Process(pid)
    times = [process.cpu_times(), *(child.cpu_times() for child in process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


@contextmanager
def ours(folder: Path, name: str = "Sluice", workers: int = 1, gateways: int = 1, **settings: str) -> Iterator[Server]:
    """The whole service by `sluice up`. Its supervisor restarts nothing: stopping a worker is part of a measurement."""
    more = ("--workers", str(workers), "--gateways", str(gateways), "--silence", "0")
    with sluice(folder, *more, **settings) as (url, data):
        pids = {path.stem: int(path.read_text()) for path in sorted((data / "run").glob("*.pid"))}
        pids.pop("up", None)
        yield Server(name, "native", url, pids, data, settings=settings)


@contextmanager
def sluice(folder: Path, *options: str, **settings: str) -> Iterator[tuple[str, Path]]:
    """The whole service by `sluice up`: URL and data folder."""
    data = folder / "data"
    command = [sys.executable, "-m", "cli.main", "up", "--port", "0", "--data-dir", str(data), *options]
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    env |= {"SLUICE_LOG_LEVEL": "warning", **settings}
    with process(command, folder / "sluice.log", env) as running:
        url_file = data / "run" / "url"
        _wait(running, url_file.exists)
        yield url_file.read_text().strip(), data


@contextmanager
def bare(folder: Path) -> Iterator[Server]:
    """The handler that drops the body."""
    port = free_port()
    with process([sys.executable, "-m", "bench.bare", str(port)], folder / "bare.log") as running:
        await_port(running, port)
        yield Server("bare handler", "plain", f"http://127.0.0.1:{port}", {"bare handler": running.pid}, folder)


@contextmanager
def rival(kind: Rival, folder: Path) -> Iterator[Server]:
    """A rival with an empty store. Raises Missing where it cannot be installed or started."""
    installed, port = kind.install(), free_port()
    data = folder / kind.name.replace("/", "-")
    data.mkdir(parents=True)
    with process(kind.command(installed, port, data), data.with_suffix(".log")) as running:
        try:
            await_port(running, port)
        except RuntimeError as error:
            raise Missing(f"{kind.name} did not start") from error
        yield Server(kind.name, "tus", f"http://127.0.0.1:{port}/files/", {kind.name: running.pid}, data, kind)


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[Server]:
    """nginx that serves the files of a folder by sendfile, one process. Raises Missing where there is none."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise Missing("no nginx on this machine")
    port, place = free_port(), folder / "nginx"
    place.mkdir()
    temporary = "".join(
        f"{kind}_temp_path {place}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (place / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {place}/pid; error_log stderr; events {{ worker_connections 512; }}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    )
    command = [program, "-e", "stderr", "-p", str(place), "-c", str(place / "nginx.conf")]
    with process(command, folder / "nginx.log") as running:
        await_port(running, port)
        yield Server("nginx", "plain", f"http://127.0.0.1:{port}", {"nginx": running.pid}, root)


@contextmanager
def process(command: list[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, its output in the file `log`; ended at the end, by its own id."""
    with log.open("wb") as output:
        running = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(60)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_port(running: subprocess.Popen[bytes], port: int) -> None:
    """Until somebody listens on the port of 127.0.0.1."""
    _wait(running, lambda: _accepts(port))


def _wait(running: subprocess.Popen[bytes], ready: object) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():  # type: ignore[operator]
        if running.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("a server did not start")
        time.sleep(0.02)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
