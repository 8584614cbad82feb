"""A PostgreSQL cluster that only one test uses: to be stopped, frozen, restarted, and cut off by a proxy."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.fixtures.postgres import SUPERUSER, Postgres
from tests.fixtures.servers import START_SECONDS, short_folder
from tests.integration.gateway.rig import until

DATABASE = "postgres"


@dataclass
class OwnPostgres:
    """A cluster in `folder`, over a unix socket and a port of the loopback interface."""

    programs: Path
    folder: Path
    user: int | None
    port: int
    process: subprocess.Popen[bytes] | None = None
    frozen: list[psutil.Process] = field(default_factory=list)

    def url(self, port: int | None = None, database: str = DATABASE) -> str:
        return f"postgresql://{SUPERUSER}@127.0.0.1:{port or self.port}/{database}"

    def execute(self, statement: str) -> None:
        command = [str(self.programs / "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-d", self.url(), "-c", statement]
        subprocess.run(command, check=True, capture_output=True)

    def start(self) -> None:
        """Return when it takes connections."""
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder)]
        command += ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=100"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self.user, cwd=self.folder
            )
        until(self.is_ready, START_SECONDS)

    def is_ready(self) -> bool:
        asked = subprocess.run([self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)])
        return asked.returncode == 0

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT: at once, as a crash would leave it; SIGINT: in order, without waiting for clients."""
        if self.process is not None:
            self.go_on()
            self.process.send_signal(number)
            self.process.wait(START_SECONDS)
            self.process = None

    def freeze(self) -> None:
        """SIGSTOP the server and every process of it: connections are taken by the kernel, and nothing is said."""
        assert self.process is not None
        server = psutil.Process(self.process.pid)
        server.send_signal(signal.SIGSTOP)  # first: from here on there are no new ones
        self.frozen = [server, *server.children(recursive=True)]
        for process in self.frozen[1:]:
            process.send_signal(signal.SIGSTOP)

    def kill_backends(self) -> None:
        """SIGKILL one process of the server: it ends all others and recovers."""
        assert self.process is not None
        for process in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def go_on(self) -> None:
        for process in reversed(self.frozen):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
        self.frozen = []


@contextmanager
def own_postgres(shared: Postgres) -> Iterator[OwnPostgres]:
    """A fresh cluster from the programs of the session's one, under the same account."""
    owner = shared.socket_folder.stat().st_uid
    user = None if owner == os.geteuid() else owner
    with short_folder("sluice-own-pg-") as folder:
        if user is not None:
            os.chown(folder, user, -1)
        command = [str(shared.programs / "initdb"), "-D", str(folder / "data"), "-U", SUPERUSER, "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(command, user=user, cwd=folder, check=True, capture_output=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        cluster = OwnPostgres(shared.programs, folder, user, port)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop(signal.SIGINT)


class Proxy:
    """Passes TCP on to a port, until it swallows: then bytes of either side vanish, and nobody is told."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._passing = True
        self._threads = [threading.Thread(target=self._accept, name="proxy")]
        self._threads[0].start()

    def swallow(self) -> None:
        self._passing = False

    def pass_on(self) -> None:
        """Connections made from now on work; those that lost bytes are cut, as a router that restarted would."""
        self._cut()
        self._passing = True

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._threads[0].join()
        self._listener.close()
        self._cut()
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _cut(self) -> None:
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._ends += [near, far]
            pumps = [threading.Thread(target=self._pump, args=pair) for pair in ((near, far), (far, near))]
            self._threads += pumps
            for pump in pumps:
                pump.start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if self._passing:
                    other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
