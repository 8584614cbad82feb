"""Every process is ended by SIGTERM and started again, one at a time, while clients upload."""

import asyncio
import hashlib
import signal
import time
from pathlib import Path
from random import Random

import httpx
import pytest

from client import AsyncClient, UploadOptions
from tests.fixtures.faults import FaultReport, FaultRow
from tests.fixtures.stack import RunningStack, StartStack
from tests.integration.worker.rig import until

CLIENTS = 8
GATEWAYS, WORKERS = 2, 2
SIZES = (0, 1000, 300_000, 3_000_000)
RESTART_SECONDS = 60.0  # drain, back-off of `sluice up`, start
SETTLE_SECONDS = 20.0


class Client:
    """Uploads file after file with the SDK as it comes, and reads each back. Any error ends it."""

    def __init__(self, url: str, seed: int) -> None:
        self.files = 0
        self.chunks = 0
        self._url = url
        self._random = Random(seed)

    async def run(self, stop: asyncio.Event, folder: Path) -> None:
        async with AsyncClient(self._url) as sluice:
            while not stop.is_set():
                content = self._random.randbytes(self._random.choice(SIZES))
                result = await sluice.upload_bytes(content, "rolling.bin", UploadOptions(chunk_size=200_000))
                assert result.sha256 == hashlib.sha256(content).hexdigest()
                assert result.file_id is not None
                copy = folder / result.file_id
                await sluice.download(result.file_id, copy)  # verified by the SDK
                copy.unlink()
                self.files += 1
                self.chunks += -(-len(content) // 200_000)


async def _restart(stack: RunningStack, part: str) -> None:
    """SIGTERM, and wait for the process that follows. The gateways' socket stays open: nobody has to know when one
    of them accepts again."""
    before = stack.pid(part)
    stack.signal(signal.SIGTERM, part)
    await until(lambda: _is_another(stack, part, before), RESTART_SECONDS)
    if part.startswith("worker"):
        await until(lambda: _is_ready(stack, part), RESTART_SECONDS)


async def _is_another(stack: RunningStack, part: str, before: int) -> bool:
    try:
        return stack.pid(part) != before
    except (FileNotFoundError, ValueError):
        return False


async def _is_ready(stack: RunningStack, worker: str) -> bool:
    try:
        port = int((stack.data / "run" / f"{worker}.port").read_text())
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(f"http://127.0.0.1:{port}/readyz")).is_success
    except (OSError, ValueError, httpx.HTTPError):
        return False


async def _all_ended(sluice: AsyncClient) -> bool:
    pages = [await sluice.jobs_page(state=state) for state in ("queued", "running")]
    return not any(page.items for page in pages)


@pytest.mark.slow
async def test_clients_see_nothing_of_a_rolling_restart(
    start_stack: StartStack, tmp_path: Path, faults: FaultReport
) -> None:
    stack = start_stack(GATEWAYS, WORKERS)
    parts = ["redis", *(f"gateway-{n + 1}" for n in range(GATEWAYS)), *(f"worker-{n + 1}" for n in range(WORKERS))]
    parts *= 3 if faults.full else 1
    stop = asyncio.Event()
    clients = [Client(stack.url, seed) for seed in range(CLIENTS)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(stop, tmp_path))
        for part in parts:
            await _restart(stack, part)
        ended = time.monotonic()
        stop.set()
    async with AsyncClient(stack.url) as sluice:
        await until(lambda: _all_ended(sluice), SETTLE_SECONDS)
        recovery = time.monotonic() - ended
        jobs = [job async for job in sluice.list_jobs()]

    files = sum(client.files for client in clients)
    assert files >= CLIENTS, "too little load to say anything"
    assert {job.state for job in jobs} == {"succeeded"}
    assert {(job.id, job.attempts) for job in jobs if job.attempts != 1} == set()
    faults.note(
        FaultRow(
            f"rolling restart, {CLIENTS} clients",
            points=len(parts),
            chunks_checked=sum(client.chunks for client in clients),
            files_checked=files,
            longest_recovery=recovery,
        )
    )
