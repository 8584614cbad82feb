"""The demo's own service: `sluice up` as a child process over a temporary folder, on any free port."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.keeper import TETHER
from cli.stack import CHECKOUT, python_module

START_SECONDS = 60.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.05


class DemoFailedError(Exception):
    """Something did not hold; the message is for the person at the terminal."""


@contextmanager
def running_service(folder: Path) -> Iterator[str]:
    """Run a service with its data in `folder`; yields its URL and leaves no process behind.

    Settings of the environment are left out, so that nobody's real database or storage takes part. Raises
    DemoFailedError, with what the service said, if it does not come up.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    env |= {"SLUICE_LOG_LEVEL": "warning", "PYTHONPATH": str(CHECKOUT)}
    command = python_module("cli.main", "up", "--port", "0", "--data-dir", str(folder / "data"))
    log = folder / "service.log"
    with (
        log.open("wb") as output,
        # Tied to this process, and in a session of its own: Ctrl-C ends the demo, and the demo ends the service.
        subprocess.Popen(
            (sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *command),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield wait_for_url(process, folder / "data" / "run" / "url", log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()  # its parts die with it


def wait_for_url(process: "subprocess.Popen[bytes]", url_file: Path, log: Path) -> str:
    """Return the URL once the service says that it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if url_file.exists():
            return url_file.read_text(encoding="utf-8").strip()
        if process.poll() is not None:
            break
        time.sleep(POLL_SECONDS)
    raise DemoFailedError(f"the service did not start:\n{log.read_text(errors='replace')}")
