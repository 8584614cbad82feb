"""The gateway's app and the worker, opened and closed up to fifty times: nothing is left open, running or waiting."""

import asyncio
import contextlib
import gc
import shutil
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.settings import Settings, load_settings
from common.states import JobKind
from gateway.app import create_app
from tests.fixtures.faults import FaultReport, FaultRow
from tests.integration.gateway.rig import environment_of
from worker.app import WorkerProcess
from worker.health import open_port

CYCLES = 50
SHORT_CYCLES = 5  # of the worker, whose stop takes a fifth of a second
LOOPS_OWN = "asyncio_"  # threads of the event loop's executor: as many as were ever needed at once
WARM = 2  # first cycles: what is made once for the whole process stays


@dataclass(frozen=True)
class Held:
    """What this process holds at a moment."""

    descriptors: tuple[str, ...]
    threads: int
    tasks: int

    @classmethod
    def now(cls) -> "Held":
        gc.collect()
        open_now = []
        for number in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the listing itself
                open_now.append(str(number.readlink()).split(":[")[0])
        ours = [thread for thread in threading.enumerate() if not thread.name.startswith(LOOPS_OWN)]
        return cls(tuple(sorted(open_now)), len(ours), len(asyncio.all_tasks()))


@pytest.fixture
def settings(tmp_path: Path, migrated_sqlite: Path, redis_url: str) -> Settings:
    shutil.copy(migrated_sqlite, tmp_path / "sluice.db")
    return load_settings(environ=environment_of(tmp_path, redis_url))


async def held_after(cycles: int, cycle: Callable[[], Awaitable[None]]) -> Held:
    for _ in range(cycles):
        await cycle()
    return Held.now()


async def test_fifty_lives_of_the_gateway_leave_nothing_open(
    settings: Settings, tmp_path: Path, faults: FaultReport
) -> None:
    async def life() -> None:
        app = create_app(settings)
        async with app.router.lifespan_context(app) as state:
            services = state["services"]  # type: ignore[index]
            await asyncio.gather(*(services.database.ping() for _ in range(5)))  # the whole pool
            await services.storage.check_writable()

    before = await held_after(WARM, life)
    after = await held_after(CYCLES, life)

    assert after == before
    assert [name for name in after.descriptors if str(tmp_path) in name] == []
    assert not (tmp_path / "sluice.db-wal").exists()  # the last connection that closes removes it
    faults.note(FaultRow("gateway opened and closed: descriptors, threads, tasks as before", points=CYCLES))


async def test_many_lives_of_the_worker_leave_nothing_open(
    settings: Settings, tmp_path: Path, faults: FaultReport
) -> None:
    async def life() -> None:
        with open_port(settings.worker) as listener:
            process = WorkerProcess(settings, list(JobKind), listener)
            running = asyncio.create_task(process.run())
            while process._health.phase != "running":  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # nobody is told
            process._on_signal()
            assert await running == 0

    before = await held_after(WARM, life)
    cycles = CYCLES if faults.full else SHORT_CYCLES
    after = await held_after(cycles, life)

    assert after == before
    assert [name for name in after.descriptors if str(tmp_path) in name] == []
    assert not (tmp_path / "sluice.db-wal").exists()
    faults.note(FaultRow("worker opened and closed: descriptors, threads, tasks as before", points=cycles))
