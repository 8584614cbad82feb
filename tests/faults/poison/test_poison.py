"""A file that kills every worker that touches it: the others get through, it ends as a dead letter, and can be driven
again when the cause is gone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from common.db.models import Job
from common.states import JOB_FINAL, JobKind, JobState, UploadState
from tests.fixtures.faults import FaultReport, FaultRow
from tests.integration.worker.conftest import rig, settings
from tests.integration.worker.process import WorkerProcess, worker_process
from tests.integration.worker.rig import Rig, until, worker_environment

__all__ = ["rig", "settings"]

POISON_SIZE = 666  # bytes; how the patched worker knows it
NEIGHBOURS = {"short": 12, "full": 60}
SEAL_SECONDS = 0.4  # so that neighbours run when the poison kills
MAX_ATTEMPTS = 4
POISONED = f"""
import os, signal, time
import common.storage.seal as seal
real = seal.Sealing.run
def poisonous(self):
    time.sleep({SEAL_SECONDS} / 2)
    if self._plan.size == {POISON_SIZE}:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep({SEAL_SECONDS} / 2)
    return real(self)
seal.Sealing.run = poisonous
"""
FAST = {"LEASE_SECONDS": "1", "HEARTBEAT_SECONDS": "0.2", "SWEEP_SECONDS": "0.3", "MAX_ATTEMPTS": str(MAX_ATTEMPTS)}


class Supervisor:
    """Starts a worker that dies of the poison again whenever it is dead, as `sluice up` and Kubernetes do."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.deaths = 0
        self._environment = environment
        self._folder = folder

    async def run(self) -> None:
        while True:
            async with worker_process(self._environment, self._folder, ready=False, wrapper=POISONED) as worker:
                await self._outlive(worker)

    async def _outlive(self, worker: WorkerProcess) -> None:
        await worker.process.wait()
        self.deaths += 1


@asynccontextmanager
async def supervised(environment: dict[str, str], folder: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(environment, folder)
    running = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        running.cancel()
        await asyncio.wait([running])


async def ended(rig: Rig, jobs: list[Job]) -> bool:
    return all([JobState((await rig.job(job.id)).state) in JOB_FINAL for job in jobs])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_file_that_kills_its_worker_does_not_stop_the_queue_and_ends_as_a_dead_letter(
    rig: Rig, database_url: str, redis_url: str, tmp_path: Path, faults: FaultReport
) -> None:
    environment = worker_environment(database_url, redis_url, tmp_path, **FAST)
    uploads = [await rig.upload(bytes([number]) * 3000) for number in range(NEIGHBOURS[faults.form])]
    poison = await rig.finalize(await rig.upload(b"p" * POISON_SIZE))  # first in the queue
    neighbours = [await rig.finalize(upload) for upload in uploads]

    async with supervised(environment, tmp_path / "worker") as supervisor:
        await until(lambda: ended(rig, [poison, *neighbours]), 90)
    dead = await rig.job(poison.id)
    assert (dead.state, dead.error_code, dead.attempts) == (JobState.FAILED, "attempts_exhausted", MAX_ATTEMPTS)
    assert dead.error_detail == "The worker that ran the last attempt disappeared."
    assert supervisor.deaths == MAX_ATTEMPTS
    assert {(await rig.job(job.id)).state for job in neighbours} == {JobState.SUCCEEDED}
    assert (await rig.get_upload(poison.upload_id)).state == UploadState.FINALIZING

    began = time.monotonic()
    async with rig.database.transaction() as repository:
        driven = await repository.jobs.redrive(dead.tenant, dead.id)
    assert driven is not None
    await rig.parts.runner.run_job({}, driven.id, driven.epoch)  # a worker that has been repaired

    assert (await rig.job(poison.id)).state == JobState.SUCCEEDED
    assert len(await rig.jobs(JobKind.METADATA)) == len(neighbours) + 1
    faults.note(
        FaultRow(
            "poison file kills its worker",
            points=supervisor.deaths,
            files_checked=len(neighbours) + 1,
            longest_recovery=time.monotonic() - began,
        )
    )
