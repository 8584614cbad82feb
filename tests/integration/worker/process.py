"""A real worker process: `python -m worker` with the settings of a test."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.integration.worker.rig import until

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass
class WorkerProcess:
    """A started process and where it tells its health port."""

    process: asyncio.subprocess.Process
    port_file: Path
    log: Path

    async def probe(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            return await client.get(f"http://127.0.0.1:{self.port_file.read_text()}{path}")

    async def is_ready(self) -> bool:
        assert self.process.returncode is None, self.log.read_text()
        try:
            return (await self.probe("/readyz")).status_code == httpx.codes.OK
        except (OSError, httpx.HTTPError):
            return False

    async def ended(self, seconds: float = 60.0) -> int:
        return await asyncio.wait_for(self.process.wait(), seconds)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@asynccontextmanager
async def worker_process(
    environment: Mapping[str, str], folder: Path, *, ready: bool = True, wrapper: str = ""
) -> AsyncIterator[WorkerProcess]:
    """Run a worker; it is killed at the end if it still lives. `wrapper`: code that runs before `worker.__main__`."""
    folder.mkdir(exist_ok=True)
    log = folder / "worker.log"
    program = ["-c", f"{wrapper}\nimport runpy; runpy.run_module('worker', run_name='__main__')"]
    env = {**os.environ, **environment, "SLUICE_HEALTH_PORT_FILE": str(folder / "port")}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *program, env=env, cwd=REPOSITORY, stdout=output, stderr=output
        )
    worker = WorkerProcess(process, folder / "port", log)
    try:
        if ready:
            await until(worker.is_ready)
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
