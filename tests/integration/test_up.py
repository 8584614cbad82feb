"""`sluice up` as a person runs it: a process of its own, its terminal lines, its signals, its exit status."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

from cli.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
ANY_PORT = ("--port", "0")
PATIENCE = 60.0  # seconds for anything; two cores may be busy with other tests


class Up:
    """A running `sluice up`. `wait_for` looks at the files it writes, so it has to look again and again."""

    def __init__(self, data: Path, output: Path, *arguments: str, **settings: str) -> None:
        self.data = data
        self.output = output
        env = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        with output.open("wb") as log:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "cli.main", "up", "--data-dir", str(data), *arguments),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=env | settings,
            )

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait_for(self, look: Callable[[], T | None]) -> T:
        """Return what `look` finds; fails with the output if that takes too long or the process has ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := look():
                return found
            time.sleep(0.02)
        pytest.fail(f"gave up waiting; sluice up said:\n{self.text()}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def url(self) -> str:
        """Wait until it says that it is ready, and where."""
        return self.wait_for(lambda: re.search(r"^Sluice is ready at (\S+)$", self.text(), re.MULTILINE))[1]

    def pid(self, name: str) -> int | None:
        found = read(self.data / "run" / f"{name}.pid")
        return int(found) if found else None

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start `sluice up` on any free port and a fresh data folder; ends it after the test."""
    started: list[Up] = []

    def make(*arguments: str, **settings: str) -> Up:
        started.append(Up(tmp_path / "data", tmp_path / "up.log", *(arguments or ANY_PORT), **settings))
        return started[-1]

    yield make
    for up in started:
        up.process.kill()  # its parts die with it
        up.process.wait()


StartUp = Callable[..., Up]


@contextmanager
def creating(url: str) -> Iterator[list[str]]:
    """Creates uploads one after the other as long as the block runs; those that were answered 201."""
    created: list[str] = []
    over = threading.Event()

    def create() -> None:
        with httpx.Client(trust_env=False, timeout=5) as client:
            while not over.is_set():
                with suppress(httpx.HTTPError):
                    answer = client.post(f"{url}/v1/uploads", json={"filename": "a", "size": 1})
                    if answer.status_code == 201:
                        created.append(answer.json()["id"])

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield created
    finally:
        over.set()
        for thread in threads:
            thread.join()


def freeze_in_a_transaction(up: Up, name: str) -> int:
    """Stop the part while it has its turn to write to SQLite; its process id."""
    pid = up.pid(name)
    assert pid is not None
    turn = (up.data / "sluice.db-turn").stat().st_ino

    def caught() -> bool:
        os.kill(pid, signal.SIGSTOP)
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        if any("FLOCK" in line and str(pid) in line and line[5].endswith(f":{turn}") for line in held):
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    up.wait_for(caught)
    return pid


# --- refusals: one clear line, exit 1, nothing started -------------------------------------------------------


def test_a_taken_port_is_one_line_and_exit_1(start: StartUp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = start("--port", str(port))
        assert up.process.wait(PATIENCE) == 1
    assert up.text() == (
        f"sluice up: port {port} on 127.0.0.1 is already taken; choose another with --port "
        '(make up ARGS="--port 9000"), or 0 for any free one\n'
    )


def test_a_second_up_on_a_data_folder_names_the_first(start: StartUp, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "data" / "run").locked():
        up = start()
        assert up.process.wait(PATIENCE) == 1
    assert up.text().splitlines() == [
        f"sluice up: data folder {tmp_path / 'data'} is in use by another `sluice up` (process {os.getpid()})"
    ]


def test_wrong_settings_are_one_line_each(start: StartUp) -> None:
    up = start(SLUICE_DURABILITY="sometimes", SLUICE_DURABILTY="chunk")
    assert up.process.wait(PATIENCE) == 1
    lines = sorted(up.text().splitlines())
    assert len(lines) == 2
    assert lines[0].startswith("sluice up: SLUICE_DURABILITY: ")
    assert lines[1].startswith("sluice up: SLUICE_DURABILTY: unknown setting; did you mean SLUICE_DURABILITY?")


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    up = Up(tmp_path / "file" / "data", tmp_path / "up.log")
    assert up.process.wait(PATIENCE) == 1
    assert up.text().splitlines() == [f"sluice up: cannot use data folder {up.data}: Not a directory"]


def test_a_database_that_does_not_answer_ends_the_start(start: StartUp) -> None:
    up = start(SLUICE_DATABASE_URL="postgresql://sluice:hush@127.0.0.1:1/sluice")
    assert up.process.wait(PATIENCE) == 1
    assert "sluice up: migrate exited with status 1; stopping" in up.text().splitlines()
    assert "hush" not in up.text()
    assert "Traceback" not in up.text()


# --- the whole stack -----------------------------------------------------------------------------------------


def test_it_runs_every_part_and_stops_without_leaving_a_process(start: StartUp) -> None:
    up = start("--port", "0", "--gateways", "2", "--workers", "2")
    url = up.url()
    assert read(up.data / "run" / "url") == url
    assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    names = ["gateway-1", "gateway-2", "redis", "up", "worker-1", "worker-2"]
    assert sorted(path.stem for path in (up.data / "run").glob("*.pid")) == names
    family = up.family()
    assert {up.pid(name) for name in names} == {process.pid for process in family} | {up.process.pid}

    assert up.end(signal.SIGTERM) == 0

    assert [process for process in family if process.is_running()] == []
    assert [path.name for path in (up.data / "run").iterdir()] == ["up.lock"]


def test_ctrl_c_is_an_orderly_stop_too(start: StartUp) -> None:
    up = start()
    up.url()
    assert up.end(signal.SIGINT) == 0


def test_killed_parts_come_back_and_the_service_answers(start: StartUp) -> None:
    up = start()
    url = up.url()
    for name in ("gateway-1", "worker-1", "redis"):
        killed = up.pid(name)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        up.wait_for(lambda name=name, killed=killed: up.pid(name) not in (None, killed))  # type: ignore[misc]
        assert f"sluice up: {name} exited with signal 9; restarting in 0.2 s" in up.text()
    # A connection made while no gateway is alive waits for the next one.
    assert httpx.get(f"{url}/livez", timeout=PATIENCE, trust_env=False).status_code == 200
    assert up.end() == 0


def test_with_two_gateways_nobody_notices_that_one_was_killed(start: StartUp) -> None:
    up = start("--port", "0", "--gateways", "2")
    url, killed = up.url(), up.pid("gateway-1")
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    for _ in range(20):
        assert httpx.get(f"{url}/livez", timeout=PATIENCE, trust_env=False).status_code == 200
    assert up.end() == 0


def test_frozen_parts_are_ended_and_started_again_and_files_get_ready(start: StartUp) -> None:
    up = start(*ANY_PORT, "--silence", "2")
    url = up.url()
    frozen = {name: up.pid(name) for name in ("gateway-1", "worker-1", "redis")}
    for pid in frozen.values():
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    up.wait_for(lambda: all(up.pid(name) not in (None, pid) for name, pid in frozen.items()))
    assert all(f"sluice up: {name} is hung (" in up.text() for name in frozen)
    upload = httpx.post(f"{url}/v1/files?filename=a", content=b"abc", timeout=PATIENCE, trust_env=False)
    assert upload.status_code == 202
    job = f"{url}/v1/jobs/{upload.json()['id']}?wait=30"
    up.wait_for(lambda: httpx.get(job, timeout=PATIENCE, trust_env=False).json()["state"] == "succeeded")
    assert up.end() == 0


def test_a_gateway_frozen_in_a_write_transaction_keeps_others_from_writing_only_until_it_is_ended(
    start: StartUp,
) -> None:
    up = start(*ANY_PORT, "--gateways", "2", "--silence", "2")
    url = up.url()
    with creating(url) as created:
        frozen = freeze_in_a_transaction(up, "gateway-1")
        before = len(created)
        up.wait_for(lambda: up.pid("gateway-1") not in (None, frozen))
        up.wait_for(lambda: len(created) > before + 10)
    assert up.end() == 0


def test_the_parts_die_with_a_killed_up_and_the_folder_is_free_again(start: StartUp) -> None:
    first = start()
    first.url()
    family = first.family()
    first.end(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []

    second = start()
    second.url()
    assert second.end() == 0


def test_settings_of_the_environment_reach_the_gateway(start: StartUp) -> None:
    up = start(SLUICE_MAX_FILE_SIZE="12345")
    assert httpx.get(f"{up.url()}/v1/limits", trust_env=False).json()["max_file_size"] == 12345
    assert up.end() == 0
