"""The driver in a process of its own: one JSON line in for each call, one out, with the CPU seconds it took.

`Driver` is the side that asks; `python -m bench.apart` is the process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.sends import native, plain, streams, tus

CALLS: dict[str, Callable[..., dict[str, Any]]] = {
    "native.big": native.big,
    "native.small": native.small,
    "native.burst": native.burst,
    "native.look": native.look,
    "native.one_by_one": native.one_by_one,
    "native.finalize": native.finalize,
    "streams.big": streams.big,
    "tus.big": tus.big,
    "tus.small": tus.small,
    "plain.dropped": plain.dropped,
    "plain.download": plain.download,
    "plain.latencies": plain.latencies,
    "plain.held_polls": plain.held_polls,
    "plain.slow": plain.slow,
}


class DriverError(RuntimeError):
    """The call failed in the driver; the message says why."""


@dataclass(frozen=True)
class Done:
    """What a call gave, and what it cost the driver."""

    value: dict[str, Any]
    cpu: float


class Driver:
    """Use as a context manager. One call at a time; a call that fails leaves a usable driver."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()  # also closes the pipes
            self._process = None

    def call(self, name: str, limit: float = 900.0, **arguments: Any) -> Done:
        """Run one of CALLS there. Raises DriverError, also when it takes longer than `limit` seconds."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([name, arguments, limit]) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            self.__exit__()
            raise DriverError(f"{name}: the driver ended, or took longer than {limit:g} s")
        answer = json.loads(line)
        if "error" in answer:
            raise DriverError(f"{name}: {answer['error']}")
        return Done(answer["value"], answer["cpu"])

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._process = subprocess.Popen([sys.executable, "-m", "bench.apart"], text=True, **pipes)
        return self._process


def main() -> None:
    """Answer until the input ends. An alarm ends a call that hangs, and the process with it."""
    for line in sys.stdin:
        name, arguments, limit = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, limit)
        before = time.process_time()
        answer: dict[str, Any]
        try:
            value = CALLS[name](**arguments)
            answer = {"value": value, "cpu": time.process_time() - before}
        except Exception as error:  # noqa: BLE001 - it is told to who asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
