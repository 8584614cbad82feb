"""A worker that is stopped past its lease in the middle of a seal, and goes on when another has finished."""

import asyncio
import hashlib
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from common.db.models import Job, Upload
from common.states import JobKind, JobState, UploadState
from common.storage.base import ObjectKey
from tests.fixtures.faults import FaultReport, FaultRow
from tests.integration.worker.process import WorkerProcess, worker_process
from tests.integration.worker.rig import TENANT, Rig, close_rig, open_rig, until, worker_environment, worker_settings

CONTENT = b"zombie" * 50_000
LEASE = 1.0
FAST = {
    "LEASE_SECONDS": str(LEASE),
    "HEARTBEAT_SECONDS": "0.2",
    "SWEEP_SECONDS": "0.4",
}
# The reading of this worker has seen all bytes and hangs before anybody hears of it.
HUNG_READING = """
import pathlib, time
import common.storage.seal as seal
real = seal.read_back
def hung(*args):
    found = real(*args)
    pathlib.Path({reached!r}).touch()
    while not pathlib.Path({go_on!r}).exists():
        time.sleep(0.01)
    return found
seal.read_back = hung
"""
# And it knows nothing of its lease: only the fence is left between it and the file.
BLIND = """
import worker.lease
worker.lease.Leases.alive = lambda self, hold: True
worker.lease.Leases._lose = lambda self, hold: None
"""


class Zombie:
    """A worker that hangs in the middle of a seal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reached = folder / "reached"
        self.go_on = folder / "go-on"

    @asynccontextmanager
    async def started(self, environment: dict[str, str], *, blind: bool) -> AsyncIterator[WorkerProcess]:
        self.folder.mkdir()
        wrapper = HUNG_READING.format(reached=str(self.reached), go_on=str(self.go_on)) + BLIND * blind
        async with worker_process(environment, self.folder, wrapper=wrapper) as worker:
            yield worker


@pytest.fixture
def environment(database_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    return worker_environment(database_url, redis_url, tmp_path, **FAST)


@pytest.fixture
async def rig(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    opened = await open_rig(worker_settings(database_url, redis_url, tmp_path, **FAST))
    yield opened
    await close_rig(opened)


async def _exists(path: Path) -> bool:
    return path.exists()


async def _stop(worker: WorkerProcess, rig: Rig) -> None:
    """Not inside a transaction: on SQLite, which has one writer, that would stop everybody until it goes on."""
    for _ in range(20):
        worker.send(signal.SIGSTOP)
        try:
            async with asyncio.timeout(1), rig.database.transaction():
                return
        except TimeoutError:
            worker.send(signal.SIGCONT)
    pytest.fail("never outside a transaction")


async def _has_ended(rig: Rig, job: Job) -> bool:
    return (await rig.job(job.id)).state not in (JobState.QUEUED, JobState.RUNNING)


async def _lost_leases(worker: WorkerProcess) -> float:
    lines = (await worker.probe("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("sluice_lease_lost_total "))


async def _has_lost_a_lease(worker: WorkerProcess) -> bool:
    return await _lost_leases(worker) == 1


async def _sha256(rig: Rig, upload: Upload) -> str:
    assert upload.file_id is not None
    pieces = await rig.storage.read(ObjectKey(TENANT, upload.file_id), 0, len(CONTENT))
    return hashlib.sha256(b"".join([piece async for piece in pieces])).hexdigest()


@pytest.mark.parametrize(
    ("database_url", "blind"),
    [
        pytest.param("sqlite", False, id="one that looks at its lease"),
        pytest.param("postgresql", True, id="one that only the fence stops"),
    ],
    indirect=["database_url"],
)
async def test_a_zombie_keeps_nobody_waiting_and_cannot_publish(
    rig: Rig, environment: dict[str, str], tmp_path: Path, faults: FaultReport, blind: bool
) -> None:
    zombie = Zombie(tmp_path / "zombie")
    async with zombie.started(environment, blind=blind) as late:
        job = await rig.finalize(await rig.upload(CONTENT))
        await until(lambda: _exists(zombie.reached))
        await _stop(late, rig)
        stopped = time.monotonic()
        async with worker_process(environment, tmp_path / "other"):
            await until(lambda: _has_ended(rig, job), 10)
            recovery = time.monotonic() - stopped
            zombie.go_on.touch()
            late.send(signal.SIGCONT)
            await until(lambda: _has_lost_a_lease(late))
            await asyncio.gather(*[until(lambda job=found: _has_ended(rig, job)) for found in await rig.jobs()])

    upload, jobs = await rig.get_upload(job.upload_id), await rig.jobs()
    metadata = [found for found in jobs if found.kind == JobKind.METADATA]
    assert [found.state for found in jobs] == [JobState.SUCCEEDED] * 2
    assert len(metadata) == 1
    assert (await rig.job(job.id)).attempts == 2
    assert (upload.state, upload.file_id) == (UploadState.COMPLETE, job.file_id)
    assert await _sha256(rig, upload) == hashlib.sha256(CONTENT).hexdigest()
    assert recovery < LEASE + 9  # a second seal that waited for the first would need its patience of 10 s
    name = "zombie worker, lease ignored" if blind else "zombie worker"
    faults.note(FaultRow(name, points=1, files_checked=1, longest_recovery=recovery))
