"""A worker as a process: probes, signals, sudden death, and a Redis that forgets everything."""

import asyncio
import signal
import socket
import time
from pathlib import Path

import pytest

from common.states import JobKind, JobState
from tests.integration.worker.process import worker_process
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
# The batch of this process never fills and never times out.
FULL_BUFFER = """
import pathlib
import worker.batch as batch
real = batch.ResultBatch.submit
async def submit(self, *found):
    self._size, self._seconds = 10**6, 10**6
    pathlib.Path({marker!r}).touch()
    await real(self, *found)
batch.ResultBatch.submit = submit
"""


@pytest.fixture
def environment(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    return worker_environment(database_url, redis_url, tmp_path, **FAST)


async def has_state(rig: Rig, job_id: str, state: JobState) -> bool:
    return (await rig.job(job_id)).state == state


async def exists(path: Path) -> bool:
    return path.exists()  # noqa: ASYNC240


async def test_a_worker_takes_an_upload_all_the_way(rig: Rig, environment: dict[str, str], tmp_path: Path) -> None:
    async with worker_process(environment, tmp_path / "w") as worker:
        job = await rig.finalize(await rig.upload(CONTENT))
        await until(lambda: has_state(rig, job.id, JobState.SUCCEEDED))
        [metadata] = await rig.jobs(JobKind.METADATA)
        await until(lambda: has_state(rig, metadata.id, JobState.SUCCEEDED))
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0


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
        await until(lambda: has_state(rig, job.id, JobState.SUCCEEDED), 10)

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
        await until(lambda: has_state(rig, job.id, JobState.SUCCEEDED), 10)


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
            await until(lambda job=job: has_state(rig, job.id, JobState.SUCCEEDED), 10)

    assert None not in [(await rig.file(file.id)).attributes for file in files]


async def test_flushall_under_a_running_worker_delays_and_nothing_more(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    async with worker_process(environment, tmp_path / "w"):
        job = await rig.finalize(await rig.upload(CONTENT), ring=False)
        await rig.redis.flushall()
        await until(lambda: has_state(rig, job.id, JobState.SUCCEEDED), 10)


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


async def test_a_redis_that_is_away_is_one_line_and_exit_1(
    rig: Rig, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["SLUICE_REDIS_URL"] = f"unix://{tmp_path / 'nobody.sock'}?db=0"
    began = time.monotonic()
    async with worker_process(environment, tmp_path / "w", ready=False) as worker:
        assert await worker.ended(30) == 1
    assert time.monotonic() - began > 1  # it was waited for
    errors = [line for line in worker.log.read_text().splitlines() if '"error"' in line and '"level"' in line]
    assert [line for line in errors if "worker.lost_its_queue" in line]
    assert "Traceback" not in worker.log.read_text()


async def test_a_worker_waits_for_the_migration(
    settings: object, environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    from common.db.migrate import migrate_async

    async with worker_process(environment, tmp_path / "w", ready=False) as worker:
        await until(lambda: exists(worker.port_file))
        await asyncio.sleep(0)
        assert (await worker.probe("/readyz")).json() == {"status": "unavailable", "reasons": ["starting"]}
        assert (await worker.probe("/livez")).status_code == 200
        await migrate_async(database_url)
        await until(worker.is_ready)


async def _drains(ready: object) -> bool:
    return not await ready  # type: ignore[misc]
