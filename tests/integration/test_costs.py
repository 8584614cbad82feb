"""What an upload may cost, as ratios in one run and as counts: nothing here depends on the speed of the machine.

The references are those of `make bench`: a handler that reads the body and drops it, and hashlib. The room is wide: a
test fails when something is twice as expensive as it was, not when the machine is busy.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.apart import Driver
from bench.measures.large import hash_seconds
from bench.scaling.counters import Reading, await_idle, difference, read
from bench.scaling.stack import Stack, stack
from bench.servers import bare

MIB = 1024 * 1024
SIZE, CHUNK, ROUNDS = 96 * MIB, 16 * MIB, 3
LEAST_OF_BARE = 0.5  # measured 1.0 to 1.4; the design asks for 0.8
LEAST_OF_HASHLIB = 0.35  # measured 0.6 to 0.8 for so small a file; the design asks for 0.85 at 1 GiB
MOST_CALLS = 80  # system calls of the gateway per MiB received; measured 30 to 40
MOST_FAULTS = 10  # pages that the gateway takes from the kernel per MiB received; measured 0.1, and 45 without its care
MOST_STATEMENTS = 45  # of gateway and worker for one upload and its two jobs; measured 23
MOST_STATEMENTS_OF_SMALL = 15  # the same for a small file in one request, of which some come at once; measured 6
MOST_ROUND_TRIPS = 35  # commands that Redis gets for one of them and its two jobs; measured 14
FILES = 40


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("stack"), s3=False, SLUICE_DURABILITY="none", SLUICE_SWEEP_SECONDS="60") as up:
        yield up


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver() as started:
        yield started


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.bin"
    path.write_bytes(os.urandom(MIB) * (SIZE // MIB))
    return path


def big(driver: Driver, up: Stack, source: Path, chunk: int = CHUNK) -> dict[str, float]:
    path, url = str(source), up.gateway_url
    return driver.call("native.big", limit=100.0, url=url, path=path, connections=1, chunk=chunk).value


def test_receiving_keeps_up_with_a_handler_that_drops_the_body(
    running: Stack, driver: Driver, source: Path, tmp_path: Path
) -> None:
    ours, dropped = [], []
    with bare(tmp_path) as reference:
        for _ in range(ROUNDS):
            done = driver.call("plain.dropped", url=reference.url, path=str(source), connections=1, chunk=CHUNK)
            dropped.append(done.value["receive"])
            ours.append(big(driver, running, source)["receive"])
    assert min(dropped) / min(ours) >= LEAST_OF_BARE


def test_finalize_keeps_up_with_bare_hashlib(running: Stack, driver: Driver, source: Path) -> None:
    ours, bare_hash = [], []
    for _ in range(ROUNDS):
        ours.append(big(driver, running, source)["finalize"])
        bare_hash.append(hash_seconds(source))
    assert min(bare_hash) / min(ours) >= LEAST_OF_HASHLIB


def test_a_mebibyte_costs_a_bounded_number_of_system_calls(
    running: Stack, driver: Driver, source: Path, tmp_path: Path
) -> None:
    big(driver, running, source)
    with counted_calls(running.pids["gateway"], tmp_path / "calls") as calls:
        big(driver, running, source)
    assert 0 < calls[0] <= MOST_CALLS * SIZE / MIB


def test_a_mebibyte_takes_hardly_a_page_from_the_kernel(running: Stack, driver: Driver, source: Path) -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("the allocator is not glibc's")
    big(driver, running, source)
    before = page_faults(running.pids["gateway"])
    big(driver, running, source)
    assert page_faults(running.pids["gateway"]) - before <= MOST_FAULTS * SIZE / MIB


def test_statements_of_an_upload_do_not_grow_with_its_chunks(running: Stack, driver: Driver, source: Path) -> None:
    few = statements(cost(running, lambda: big(driver, running, source, SIZE // 2)))
    many = statements(cost(running, lambda: big(driver, running, source, SIZE // 48)))
    assert few <= MOST_STATEMENTS
    assert many <= MOST_STATEMENTS


def test_small_files_share_what_they_ask_of_database_and_redis(running: Stack, driver: Driver) -> None:
    url = running.gateway_url
    spent = cost(running, lambda: driver.call("native.small", url=url, size=1024, count=FILES, connections=4))
    assert 0 < statements(spent) <= MOST_STATEMENTS_OF_SMALL * FILES
    assert 0 < spent["redis.all"] <= MOST_ROUND_TRIPS * FILES


def cost(up: Stack, work: Callable[[], object]) -> Reading:
    """What is counted from before the work until all its jobs are done."""
    await_idle(up)
    before = read(up)
    work()
    await_idle(up)
    return difference(read(up), before)


def statements(spent: Reading) -> float:
    return spent["sql.gateway.statements"] + spent["sql.worker.statements"]


def page_faults(pid: int) -> int:
    """Minor faults of a process so far: the tenth field of proc_pid_stat(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


@contextmanager
def counted_calls(pid: int, report: Path) -> Iterator[list[int]]:
    """The number of system calls of a process and its threads in the block stands in the list afterwards."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace on this machine")
    command = [strace, "-f", "-c", "-o", str(report), "-p", str(pid)]
    tracing = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracing.stderr is not None
    told = tracing.stderr.readline()
    if "attached" not in told:
        tracing.wait(10)
        pytest.skip(f"strace may not look at another process here: {told.strip()}")
    found: list[int] = []
    try:
        yield found
    finally:
        tracing.send_signal(signal.SIGINT)
        tracing.communicate(timeout=30)
    total = re.search(r"^\s*100\.00\s+\S+\s+\S+\s+(\d+).* total$", report.read_text(), re.MULTILINE)
    assert total is not None, report.read_text()
    found.append(int(total[1]))
