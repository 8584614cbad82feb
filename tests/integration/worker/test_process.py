"""A worker as a process: probes, signals, sudden death, and a Redis that forgets everything."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from common.db.migrate import migrate_async
from common.states import JobKind, JobState
from tests.contract.database.steps import LATER, pretend
from tests.fixtures.redis import redis_binary
from tests.fixtures.servers import running, short_folder
from tests.integration.worker.process import WorkerProcess, worker_process
from tests.integration.worker.rig import Rig, until, worker_environment

CONTENT = b"z" * 2500
FAST = {
    "LEASE_SECONDS": "1",
    "HEARTBEAT_SECONDS": "0.2",
    "SWEEP_SECONDS": "0.4",
    "WORKER_DRAIN_SECONDS": "0.3",
}
# Seals take for ever in this process; it says in a file that one has begun.
STUCK_SEAL = """
import pathlib, time
import common.storage.seal as seal
def stuck(self):
    pathlib.Path({marker!r}).touch()
    while not self._watch.stop.wait(0.05):
        pass
    raise RuntimeError("stopped")
seal.Sealing.run = stuck
"""
# Seals take until the test says so.
SLOW_SEAL = """
import pathlib, time
import common.storage.seal as seal
real = seal.Sealing.run
def slow(self):
    pathlib.Path({marker!r}).touch()
    while not pathlib.Path({go_on!r}).exists():
        time.sleep(0.02)
    return real(self)
seal.Sealing.run = slow
"""
# A Redis that does not answer at the start is waited for a second.
HASTY = """
import worker.app
worker.app.REDIS_PATIENCE = 1.0
"""
# A poll loop that does not turn for some seconds is noticed.
WATCHFUL = """
import worker.health, worker.polling
worker.health.POLL_SILENCE = 3.0
worker.polling.TICK_SECONDS = 0.1
"""
# No result of this process is ever written.
FULL_BUFFER = """
import asyncio
import pathlib
import worker.batch as batch
async def submit(self, *found):
    pathlib.Path({marker!r}).touch()
    await asyncio.Event().wait()
batch.ResultBatch.submit = submit
"""

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # where the database plays no part


@pytest.fixture
def environment(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    return worker_environment(database_url, redis_url, tmp_path, **FAST)


async def has_state(rig: Rig, job_id: str, state: JobState) -> bool:
    return (await rig.job(job_id)).state == state


async def exists(path: Path) -> bool:
    return path.exists()


async def test_a_worker_takes_an_upload_all_the_way(rig: Rig, environment: dict[str, str], tmp_path: Path) -> None:
    async with worker_process(environment, tmp_path / "w") as worker:
        job = await rig.finalize(await rig.upload(CONTENT))
        await until(lambda: has_state(rig, job.id, JobState.SUCCEEDED))
        [metadata] = await rig.jobs(JobKind.METADATA)
        await until(lambda: has_state(rig, metadata.id, JobState.SUCCEEDED))
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0


@ON_SQLITE
async def test_the_health_port_answers_probes_and_metrics(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    async with worker_process(environment, tmp_path / "w") as worker:
        assert (await worker.probe("/livez")).json() == {"status": "ok"}
        assert (await worker.probe("/readyz")).json() == {"status": "ok"}
        metrics = await worker.probe("/metrics")
        assert "sluice_lease_lost_total 0.0" in metrics.text
        assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_after_kill_9_in_the_middle_another_worker_finishes(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    marker = tmp_path / "sealing"
    async with worker_process(environment, tmp_path / "a", wrapper=STUCK_SEAL.format(marker=str(marker))) as first:
        job = await rig.finalize(await rig.upload(CONTENT))
        await until(lambda: exists(marker))
        first.send(signal.SIGKILL)
        await first.ended()
    assert (await rig.job(job.id)).state == JobState.RUNNING

    async with worker_process(environment, tmp_path / "b"):
        await until(lambda: has_state(rig, job.id, JobState.SUCCEEDED))

    assert (await rig.job(job.id)).attempts == 2


async def test_sigterm_gives_the_job_back_with_its_attempt(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    marker = tmp_path / "sealing"
    async with worker_process(environment, tmp_path / "a", wrapper=STUCK_SEAL.format(marker=str(marker))) as worker:
        job = await rig.finalize(await rig.upload(CONTENT))
        await until(lambda: exists(marker))
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0, worker.log.read_text()

    back = await rig.job(job.id)
    assert (back.state, back.attempts) == (JobState.QUEUED, 0)
    async with worker_process(environment, tmp_path / "b"):
        await until(lambda: has_state(rig, job.id, JobState.SUCCEEDED))


@ON_SQLITE
async def test_a_second_signal_does_not_wait_for_the_drain(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    marker = tmp_path / "sealing"
    patient = {**environment, "SLUICE_WORKER_DRAIN_SECONDS": "60"}
    async with worker_process(patient, tmp_path / "a", wrapper=STUCK_SEAL.format(marker=str(marker))) as worker:
        job = await rig.finalize(await rig.upload(CONTENT))
        await until(lambda: exists(marker))
        worker.send(signal.SIGTERM)
        await until(lambda: _drains(worker.is_ready()))
        worker.send(signal.SIGINT)
        assert await worker.ended() == 0

    assert (await rig.job(job.id)).state == JobState.QUEUED


async def test_a_worker_that_dies_with_a_full_buffer_loses_nothing(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    marker = tmp_path / "buffered"
    files = [await rig.published(CONTENT) for _ in range(3)]
    async with worker_process(environment, tmp_path / "a", wrapper=FULL_BUFFER.format(marker=str(marker))) as first:
        await until(lambda: exists(marker))
        first.send(signal.SIGKILL)
        await first.ended()
    assert [(await rig.file(file.id)).attributes for file in files] == [None] * 3

    async with worker_process(environment, tmp_path / "b"):
        for job in await rig.jobs(JobKind.METADATA):
            await until(lambda job=job: has_state(rig, job.id, JobState.SUCCEEDED))

    assert None not in [(await rig.file(file.id)).attributes for file in files]


@ON_SQLITE
async def test_flushall_under_a_running_worker_delays_and_nothing_more(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    async with worker_process(environment, tmp_path / "w"):
        job = await rig.finalize(await rig.upload(CONTENT), ring=False)
        await rig.redis.flushall()
        await until(lambda: has_state(rig, job.id, JobState.SUCCEEDED))


@ON_SQLITE
async def test_a_taken_health_port_is_one_line_and_exit_1(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment["SLUICE_HEALTH_PORT"] = str(port)
        async with worker_process(environment, tmp_path / "w", ready=False) as worker:
            assert await worker.ended() == 1
    [line] = worker.log.read_text().splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "Address already in use" in line


@ON_SQLITE
async def test_a_redis_that_is_away_is_waited_for_then_one_line_and_exit_1(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["SLUICE_REDIS_URL"] = f"unix://{tmp_path / 'nobody.sock'}?db=0"
    async with worker_process(environment, tmp_path / "w", ready=False, wrapper=HASTY) as worker:
        assert await worker.ended() == 1
    waiting, line = worker.log.read_text().splitlines()  # said at once, and at the end
    assert "worker.waiting" in waiting
    assert "nobody.sock (SLUICE_REDIS_URL)" in line


@ON_SQLITE
async def test_a_worker_rides_over_a_restart_of_redis(rig: Rig, environment: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder("sluice-worker-"))
        environment["SLUICE_REDIS_URL"] = f"unix://{folder / 'redis.sock'}?db=0"
        with own_redis(folder):
            worker = await stack.enter_async_context(worker_process(environment, folder / "w"))
        await until(lambda: _says(worker, "queue.no_answer"))
        job = await rig.finalize(await rig.upload(CONTENT), ring=False)
        with own_redis(folder):
            await until(lambda: has_state(rig, job.id, JobState.SUCCEEDED))
            worker.send(signal.SIGTERM)
            assert await worker.ended() == 0


@ON_SQLITE
async def test_a_worker_whose_redis_hangs_ends_its_jobs_stays_alive_and_goes_on_when_it_answers_again(
    rig: Rig, environment: dict[str, str]
) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_folder("sluice-worker-"))
        environment["SLUICE_REDIS_URL"] = f"unix://{folder / 'redis.sock'}?db=0"
        marker, go_on = folder / "sealing", folder / "go-on"
        slow = WATCHFUL + SLOW_SEAL.format(marker=str(marker), go_on=str(go_on))
        with own_redis(folder) as pid:
            first = await rig.finalize(await rig.upload(CONTENT), ring=False)
            worker = await stack.enter_async_context(worker_process(environment, folder / "w", wrapper=slow))
            await until(lambda: exists(marker))
            os.kill(pid, signal.SIGSTOP)
            stack.callback(_go_on, pid)
            began = time.monotonic()
            while time.monotonic() < began + 4.0:  # longer than any loop may be silent
                assert (await worker.probe("/livez")).status_code == httpx.codes.OK
                await asyncio.sleep(0.1)
            go_on.touch()
            await until(lambda: has_state(rig, first.id, JobState.SUCCEEDED))
            second = await rig.finalize(await rig.upload(CONTENT), ring=False)
            os.kill(pid, signal.SIGCONT)
            await until(lambda: has_state(rig, second.id, JobState.SUCCEEDED))
            assert worker.process.returncode is None


@ON_SQLITE
async def test_a_worker_waits_for_the_migration(environment: dict[str, str], redis_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    async with worker_process({**environment, "SLUICE_DATABASE_URL": url}, tmp_path / "w", ready=False) as worker:
        await until(lambda: exists(worker.port_file))
        await until(lambda: _answers(worker))
        assert (await worker.probe("/readyz")).json() == {"status": "unavailable", "reasons": ["starting"]}
        assert (await worker.probe("/livez")).status_code == 200
        await migrate_async(url)
        await until(worker.is_ready)


@ON_SQLITE
async def test_a_worker_of_the_version_before_starts_after_the_migration(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    await pretend(rig.database, LATER)
    async with worker_process(environment, tmp_path / "w") as worker:
        assert (await worker.probe("/readyz")).status_code == 200


@contextmanager
def own_redis(folder: Path) -> Iterator[int]:
    """A Redis that this test may stop; its process id."""
    socket_path = folder / "redis.sock"
    binary = redis_binary()
    assert binary is not None
    command = [binary, "--port", "0", "--unixsocket", str(socket_path), "--save", "", "--appendonly", "no"]
    with running(command, folder / "redis.log", socket_path.exists) as pid:
        yield pid


def _go_on(pid: int) -> None:
    """Wake a process so that it can be ended; it may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


async def _says(worker: WorkerProcess, event: str) -> bool:
    return event in worker.log.read_text()


async def _answers(worker: WorkerProcess) -> bool:
    try:
        return bool((await worker.probe("/livez")).status_code)
    except httpx.HTTPError:
        return False


async def _drains(ready: object) -> bool:
    return not await ready  # type: ignore[misc]
