"""Processes within milliseconds: a server that has imported everything forks one for each role.

A point needs two or three processes and there are hundreds of points; starting an interpreter for each would take most
of the time. What runs in the child is `roles`; the server itself has one thread and opens nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
ATTACH_SECONDS = 20.0
STOP_SECONDS = 10.0


class Nursery:
    """The client's end. One caller at a time."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(self, role: str, folder: Path, *, traced: bool = False, **arguments: Any) -> int:
        """Fork a child for `role`; its process id. With `traced` it waits until a tracer has attached."""
        request = {"role": role, "folder": str(folder), "traced": traced, "arguments": arguments}
        return int(self._ask(request)["pid"])

    def wait(self, pid: int) -> int:
        """The exit status of a child as `subprocess` tells it: negative for the signal that killed it."""
        return os.waitstatus_to_exitcode(self._ask({"wait": pid})["status"])

    def kill(self, pid: int) -> None:
        """SIGKILL, and wait."""
        os.kill(pid, signal.SIGKILL)
        self.wait(pid)

    def run(self, role: str, folder: Path, **arguments: Any) -> None:
        """Run a role to its end; AssertionError with its log when it fails."""
        status = self.wait(self.start(role, folder, **arguments))
        assert status == 0, f"{role} ended with {status}:\n{(folder / 'log').read_text(errors='replace')[-4000:]}"

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, "the nursery has ended"
        return dict(json.loads(answer))


@contextmanager
def nursery() -> Iterator[Nursery]:
    """A server for the block; at its end the children that are left are killed."""
    command = [sys.executable, "-m", "tests.faults.points.nursery"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            yield Nursery(server)
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait(STOP_SECONDS)


def serve() -> None:
    """The server: one request a line, until the input ends."""
    from tests.faults.points import roles

    children: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            children.discard(request["wait"])
            answer = {"status": status}
        else:
            pid = os.fork()
            if pid == 0:
                _live(request, roles)
            children.add(pid)
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _live(request: dict[str, Any], roles: Any) -> None:
    """The life of a child; never returns."""
    status = 1
    try:
        folder = Path(request["folder"])
        log = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        if request["traced"]:
            _wait_for_tracer()
        status = roles.play(request["role"], folder, request["arguments"]) or 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _wait_for_tracer() -> None:
    deadline = time.monotonic() + ATTACH_SECONDS
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        if time.monotonic() > deadline:
            raise TimeoutError("no tracer came")
        time.sleep(0.002)
    time.sleep(0.01)  # the tracer is known before its first stop takes effect


if __name__ == "__main__":
    serve()
