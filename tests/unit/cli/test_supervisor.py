"""The supervisor, with tiny stand-in processes that tell a journal pipe what happens to them."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cli.keeper import STARTS, Backoff
from cli.part import Part, PartFailedError
from cli.pulse import Pulse
from cli.run_folder import RunFolder
from cli.supervisor import StopRequestedError, Supervisor
from tests.unit.cli.stand_ins import STAND_IN, Journal

QUICK = Backoff(first=0.01, longest=0.02)


@pytest.fixture
async def journal() -> AsyncIterator[Journal]:
    journal = Journal()
    reading = asyncio.create_task(journal.read())
    yield journal
    os.close(journal.write_end)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
async def supervisor(journal: Journal, folder: RunFolder, said: list[str]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(folder, said.append, QUICK)
    yield supervisor
    supervisor.request_stop()
    supervisor.request_stop()
    await supervisor.stop()


@pytest.fixture
def part(journal: Journal) -> Callable[..., Part]:
    """Make a stand-in part that is ready when it has told the journal of its start."""

    def make(name: str, *, manners: str = "polite", env: dict[str, str] | None = None, order: int = 0) -> Part:
        async def unready() -> str:
            return "" if any(line.startswith(f"{name} start") for line in journal.lines) else "not started"

        arguments = (name, str(journal.write_end), manners, "SLUICE_DURABILITY")
        return Part(
            name,
            (sys.executable, "-I", "-S", "-c", STAND_IN, *arguments),
            env or {},
            stop_seconds=10,
            unready=unready,
            stop_order=order,
            pass_fds=(journal.write_end,),
        )

    return make


def failing(name: str, tmp_path: Path) -> Part:
    """Make a part that says why and dies before it is ever ready."""

    async def never() -> str:
        return "too cold"

    return Part(name, ("sh", "-c", "echo no such setting; exit 3"), {}, 1, never, log=tmp_path / f"{name}.log")


def wait_until_removed(path: Path) -> None:
    deadline = time.monotonic() + 20
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


MakePart = Callable[..., Part]


async def test_start_returns_when_every_part_is_ready(supervisor: Supervisor, journal: Journal, part: MakePart) -> None:
    await supervisor.start([part("one"), part("two")], within=20)
    assert psutil.pid_exists(journal.pid("one"))
    assert psutil.pid_exists(journal.pid("two"))


async def test_a_part_is_started_when_the_one_before_it_is_ready(
    supervisor: Supervisor, journal: Journal, part: MakePart
) -> None:
    await supervisor.start([part("redis")], within=20)
    await supervisor.start([part("gateway-1")], within=20)
    assert [line.split()[0] for line in journal.lines] == ["redis", "gateway-1"]


async def test_the_pid_file_names_the_process(
    supervisor: Supervisor, journal: Journal, part: MakePart, folder: RunFolder
) -> None:
    await supervisor.start([part("one")], within=20)
    assert int((folder.path / "one.pid").read_text()) == journal.pid("one")


async def test_the_environment_reaches_the_process(supervisor: Supervisor, journal: Journal, part: MakePart) -> None:
    await supervisor.start([part("one", env={"SLUICE_DURABILITY": "none"})], within=20)
    assert journal.lines[0].endswith(" none")


async def test_a_killed_part_is_restarted_and_its_pid_file_updated(
    supervisor: Supervisor, journal: Journal, part: MakePart, folder: RunFolder, said: list[str]
) -> None:
    await supervisor.start([part("gateway-2")], within=20)
    killed = journal.pid("gateway-2")

    os.kill(killed, signal.SIGKILL)
    await journal.wait_for("gateway-2 start", times=2)

    assert said == ["gateway-2 exited with signal 9; restarting in 0.01 s"]
    assert int((folder.path / "gateway-2.pid").read_text()) == journal.pid("gateway-2") != killed


async def test_a_part_that_is_there_and_does_nothing_is_ended_and_started_again(
    folder: RunFolder, journal: Journal, part: MakePart, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def alive() -> str:
        with suppress(psutil.NoSuchProcess, IndexError):  # not started yet, or gone
            return "frozen" if psutil.Process(journal.pid("one")).status() == psutil.STATUS_STOPPED else ""
        return ""

    monkeypatch.setattr("cli.keeper.HUNG_SECONDS", 0.1)
    supervisor = Supervisor(folder, said.append, QUICK, Pulse(silence=0.3))
    await supervisor.start([replace(part("one"), alive=alive), part("two")], within=20)
    frozen = journal.pid("one")
    os.kill(frozen, signal.SIGSTOP)
    await journal.wait_for("one start", times=2)
    assert said == [
        "one is hung (frozen); ending it",
        "one did not stop in time; killed",
        "one exited with signal 9; restarting in 0.01 s",
    ]
    await supervisor.stop()


async def test_only_the_killed_part_is_restarted(supervisor: Supervisor, journal: Journal, part: MakePart) -> None:
    await supervisor.start([part("one"), part("two")], within=20)
    os.kill(journal.pid("one"), signal.SIGKILL)
    await journal.wait_for("one start", times=2)
    assert [line.split()[:2] for line in journal.lines].count(["two", "start"]) == 1


async def test_parts_stop_in_their_order_and_none_is_left(
    supervisor: Supervisor, journal: Journal, part: MakePart, folder: RunFolder
) -> None:
    await supervisor.start([part("redis", order=2)], within=20)
    await supervisor.start([part("worker-1", order=1), part("gateway-1", order=0)], within=20)
    pids = [journal.pid(name) for name in ("redis", "worker-1", "gateway-1")]

    await supervisor.stop()
    await journal.wait_for("redis stop")

    assert journal.lines[-3:] == ["gateway-1 stop", "worker-1 stop", "redis stop"]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert list(folder.path.glob("*.pid")) == []


async def test_a_part_that_ignores_the_stop_is_killed_after_its_bound(
    supervisor: Supervisor, journal: Journal, part: MakePart, said: list[str]
) -> None:
    await supervisor.start([replace(part("deaf", manners="deaf"), stop_seconds=0.1)], within=20)
    await supervisor.stop()
    assert said == ["deaf did not stop in time; killed"]
    assert not psutil.pid_exists(journal.pid("deaf"))


async def test_a_second_request_shortens_a_stop_under_way(
    supervisor: Supervisor, journal: Journal, part: MakePart
) -> None:
    await supervisor.start([replace(part("deaf", manners="deaf"), stop_seconds=600)], within=20)
    supervisor.request_stop()
    stopping = asyncio.create_task(supervisor.stop())
    await journal.wait_for("deaf stop")

    supervisor.request_stop()

    await asyncio.wait_for(stopping, timeout=20)
    assert not psutil.pid_exists(journal.pid("deaf"))


async def test_a_part_killed_during_the_stop_is_not_restarted(
    supervisor: Supervisor, journal: Journal, part: MakePart, folder: RunFolder, said: list[str]
) -> None:
    slow = replace(part("gateway-1", manners="deaf"), stop_seconds=600)
    await supervisor.start([slow, part("redis", order=2)], within=20)
    stopping = asyncio.create_task(supervisor.stop())
    await journal.wait_for("gateway-1 stop")

    os.kill(journal.pid("redis"), signal.SIGKILL)
    await asyncio.to_thread(wait_until_removed, folder.path / "redis.pid")
    os.kill(journal.pid("gateway-1"), signal.SIGKILL)
    await stopping

    assert said == []


async def test_a_part_that_never_becomes_ready_is_given_up_with_its_last_words(
    supervisor: Supervisor, tmp_path: Path, said: list[str]
) -> None:
    with pytest.raises(PartFailedError) as refused:
        await supervisor.start([failing("gateway-1", tmp_path)], within=20)
    assert str(refused.value) == (
        f"gateway-1 exited with status 3 (no such setting), {STARTS} times without ever being ready"
    )
    assert len(said) == STARTS - 1


async def test_a_part_that_is_late_is_named(supervisor: Supervisor, part: MakePart) -> None:
    async def never() -> str:
        return "too cold"

    with pytest.raises(PartFailedError, match=r"^not ready within 1 s: slow \(too cold\)$"):
        await supervisor.start([part("quick"), replace(part("slow"), unready=never)], within=1)


async def test_a_command_that_does_not_exist_is_named(supervisor: Supervisor, tmp_path: Path) -> None:
    absent = replace(failing("redis", tmp_path), command=("/nonexistent/redis-server",))
    with pytest.raises(PartFailedError, match="cannot run /nonexistent/redis-server: No such file"):
        await supervisor.start([absent], within=20)


async def test_a_stop_request_ends_the_wait_for_readiness(
    supervisor: Supervisor, journal: Journal, part: MakePart
) -> None:
    async def never() -> str:
        return "too cold"

    starting = asyncio.create_task(supervisor.start([replace(part("one"), unready=never)], within=600))
    await journal.wait_for("one start")
    supervisor.request_stop()
    with pytest.raises(StopRequestedError):
        await starting
    await supervisor.stop()
    assert not psutil.pid_exists(journal.pid("one"))


async def test_a_run_that_fails_is_reported_with_its_status(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(PartFailedError, match=r"^migrate exited with status 3 \(no such setting\)$"):
        await supervisor.run_to_end(failing("migrate", tmp_path))


async def test_a_run_is_not_repeated(supervisor: Supervisor, tmp_path: Path, said: list[str]) -> None:
    await supervisor.run_to_end(Part("migrate", ("true",), {}, 1))
    assert said == []


async def test_a_stop_request_ends_a_run_under_way(supervisor: Supervisor, journal: Journal, part: MakePart) -> None:
    running = asyncio.create_task(supervisor.run_to_end(part("migrate")))
    await journal.wait_for("migrate start")
    supervisor.request_stop()
    with pytest.raises(StopRequestedError):
        await running
    assert not psutil.pid_exists(journal.pid("migrate"))


def test_the_wait_before_a_restart_doubles_up_to_a_bound() -> None:
    delays = [Backoff().delay(deaths) for deaths in (1, 2, 3, 4, 5, 6, 7, 100_000)]
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


async def test_a_long_life_starts_the_backoff_anew(
    folder: RunFolder, said: list[str], journal: Journal, part: MakePart
) -> None:
    patient = Supervisor(folder, said.append, Backoff(first=0.01, longest=1, settled=0))
    await patient.start([part("one")], within=20)
    for life in (2, 3):
        os.kill(journal.pid("one"), signal.SIGKILL)
        await journal.wait_for("one start", times=life)
    await patient.stop()
    assert said == ["one exited with signal 9; restarting in 0.01 s"] * 2
