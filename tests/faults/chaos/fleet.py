"""The processes of a chaos run and what may happen to each of them: SIGKILL, SIGSTOP, a flush, a held lock."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from redis import Redis
from redis.exceptions import RedisError

from tests.fixtures.postgres import Prepared
from tests.fixtures.stack import RunningStack

READY_SECONDS = 20.0


class Victim(ABC):
    """A process, or a group of them, that faults happen to."""

    name: str

    def pid(self) -> int | None:
        """Process id; None where it is not one process, or not running just then."""
        return None

    @abstractmethod
    async def kill(self) -> bool:
        """SIGKILL; False where it was not running just then."""

    @abstractmethod
    async def stop(self, seconds: float) -> bool:
        """Nothing of it runs for `seconds`; False where it was not running just then."""


class Part(Victim):
    """One process of `sluice up`, which starts it again."""

    def __init__(self, stack: RunningStack, name: str) -> None:
        self.name = name
        self._stack = stack

    def pid(self) -> int | None:
        try:
            return self._stack.pid(self.name)
        except (FileNotFoundError, ValueError):
            return None

    async def kill(self) -> bool:
        return self._send(signal.SIGKILL) is not None

    async def stop(self, seconds: float) -> bool:
        pid = self._send(signal.SIGSTOP)
        if pid is None:
            return False
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)  # stopped, so it is still there
        return True

    def _send(self, number: signal.Signals) -> int | None:
        pid = self.pid()
        try:
            if pid is not None:
                os.kill(pid, number)
        except ProcessLookupError:
            return None
        return pid


class SqliteFile(Victim):
    """The embedded database. It has no process to kill; somebody can hold its write lock, as a hung process does."""

    def __init__(self, path: Path) -> None:
        self.name = "database"
        self._path = path

    async def kill(self) -> bool:
        return False

    async def stop(self, seconds: float) -> bool:
        await asyncio.to_thread(self._hold, seconds)
        return True

    def _hold(self, seconds: float) -> None:
        connection = sqlite3.connect(self._path, timeout=10, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()


class PostgresProcesses(Victim):
    """A PostgreSQL of our own: the postmaster with all its backends."""

    def __init__(self, prepared: Prepared) -> None:
        self.name = "database"
        self._prepared = prepared
        self._process = self._start()

    @contextmanager
    def running(self) -> Iterator[str]:
        """The URL of its database, from readiness to the end."""
        try:
            self._await_ready()
            self._prepared.cluster.execute("CREATE DATABASE chaos")
            yield self._prepared.cluster.url("chaos")
        finally:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(READY_SECONDS)

    async def kill(self) -> bool:
        for process in self._family():
            _quietly(process, signal.SIGKILL)
        await asyncio.to_thread(self._restart)
        return True

    async def stop(self, seconds: float) -> bool:
        family = self._family()
        for process in family:
            _quietly(process, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            for process in reversed(family):
                _quietly(process, signal.SIGCONT)
        return True

    def _family(self) -> list[psutil.Process]:
        """The postmaster first: after it nobody is born any more."""
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def _restart(self) -> None:
        self._process.wait(READY_SECONDS)
        self._process = self._start()
        self._await_ready()

    def _start(self) -> subprocess.Popen[bytes]:
        prepared = self._prepared
        with prepared.log.open("ab") as output:
            return subprocess.Popen(
                prepared.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=prepared.user,
                cwd=prepared.log.parent,
            )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._prepared.cluster.is_ready():
            if self._process.poll() is not None:  # backends of the killed one still had the shared memory
                self._process = self._start()
            assert time.monotonic() < deadline, self._prepared.log.read_text(errors="replace")[-2000:]
            time.sleep(0.1)


class Fleet:
    """Everything that runs: `sluice up` with its parts, and `others`: the database, a store."""

    def __init__(self, stack: RunningStack, gateways: int, workers: int, *others: Victim) -> None:
        self.stack = stack
        self.kinds: dict[str, list[Victim]] = {
            "gateway": [Part(stack, f"gateway-{number}") for number in range(1, gateways + 1)],
            "worker": [Part(stack, f"worker-{number}") for number in range(1, workers + 1)],
            "redis": [Part(stack, "redis")],
        }
        self.kinds |= {other.name: [other] for other in others}

    def flush(self) -> bool:
        """Empty Redis; False where it does not answer just then."""
        sockets = list((self.stack.data / "run").glob("*.sock"))
        try:
            with Redis(unix_socket_path=str(sockets[0]), socket_timeout=2) as redis:
                redis.flushall()
        except (IndexError, RedisError):
            return False
        return True

    def held_locks(self, folder: Path) -> list[str]:
        """Locks of any process on a file below `folder`, as /proc/locks tells them."""
        inodes = {path.stat().st_ino: path for path in folder.rglob("*") if path.is_file()}
        lines = Path("/proc/locks").read_text().splitlines()
        found = [(line, int(line.split()[-3].rpartition(":")[2])) for line in lines if "->" not in line]
        return [f"{inodes[inode]}: {line}" for line, inode in found if inode in inodes]


def _quietly(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):  # a backend that ended meanwhile
        process.send_signal(number)
