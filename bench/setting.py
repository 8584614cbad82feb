"""Where the measurements run: a folder, a driver, a file of random bytes, and the servers side by side."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.apart import Done, Driver
from bench.forms import MIB, Form
from bench.rows import FAILURES, Result
from bench.servers import Server

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Setting:
    """Shared by all measurements of a run."""

    folder: Path
    form: Form
    driver: Driver
    workload: str = ""
    started: float = 0.0
    _driver_cpu: float = 0.0
    _driver_seconds: float = 0.0

    def say(self, text: str) -> None:
        """One progress line."""
        print(f"[{time.monotonic() - self.started:6.0f} s] {self.workload}: {text}", flush=True)

    def call(self, name: str, **arguments: object) -> Done:
        """A call of the driver, its CPU noted."""
        began = time.perf_counter()
        done = self.driver.call(name, **arguments)
        self._driver_seconds += time.perf_counter() - began
        self._driver_cpu += done.cpu
        return done

    def driver_load(self) -> float:
        """Per cent of a core that the driver took since the last time this was asked."""
        load = 100 * self._driver_cpu / self._driver_seconds if self._driver_seconds else 0.0
        self._driver_cpu = self._driver_seconds = 0.0
        return load

    def source(self, size: int) -> Path:
        """A file of random bytes that is made once for each size."""
        path = self.folder / f"source-{size}.bin"
        if not path.exists():
            block = os.urandom(16 * MIB)
            with path.open("wb") as file:
                for start in range(0, size, len(block)):
                    file.write(start.to_bytes(8, "big") + block[8 : min(len(block), size - start)])
        return path

    def warm(self, size: int) -> None:
        """Write and delete as many bytes: memory that a virtual machine touches first is slow once."""
        self.say(f"warming {size // MIB} MiB of memory")
        path, block = self.folder / "warm.bin", bytes(range(256)) * (MIB // 256)
        with path.open("wb") as file:
            for _ in range(size // MIB):
                file.write(block)
        path.unlink()

    @contextmanager
    def side_by_side(
        self, servers: Iterable[tuple[str, AbstractContextManager[Server]]], result: Result
    ) -> Iterator[list[Server]]:
        """Start all; one that cannot be is skipped with the reason. They are stopped at the end."""
        with ExitStack() as opened:
            running = []
            for name, server in servers:
                try:
                    running.append(opened.enter_context(server))
                except FAILURES as error:
                    result.skipped[name] = str(error)[:200]
                    self.say(f"{name} is skipped: {error}")
            self.say("running: " + ", ".join(server.name for server in running))
            yield running

    def subfolder(self, name: str) -> Path:
        """An empty folder of this run."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path


def machine(folder: Path) -> str:
    """One line: processors, memory, kernel, versions, file system."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1024**3
    found = [f"{os.cpu_count()} cores", f"{memory:.0f} GiB", f"Linux {platform.release()}"]
    found += [f"Python {platform.python_version()}", *_versions()]
    return ", ".join([*found, f"file system {kind.stdout.strip().replace('ext2/ext3', 'ext4')}"])


def _versions() -> Iterator[str]:
    for label, command in (("Node", ["node", "--version"]), ("Go", ["go", "env", "GOVERSION"])):
        if shutil.which(command[0]):
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
            yield f"{label} {said.removeprefix('go').removeprefix('v')}"
