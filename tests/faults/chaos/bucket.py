"""A bucket in a chaos run: the store that faults happen to, what clients send to it, and what it holds at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3

from common.bucket import parse_bucket_url
from common.storage.layout import is_plain_id
from tests.faults.chaos.crowd import KIB, MIB, Load
from tests.faults.chaos.fleet import Victim
from tests.fixtures.s3 import PROGRAMS, StoreProgram, chosen_store, credentials, new_bucket
from tests.fixtures.servers import short_folder

READY_SECONDS = 20.0
PAUSE = 8.0
"""Seconds. A small file is 19 requests, a large one 80 and more, and moto answers about a hundred in a second on half a
core: what clients have finalized while Redis was away for 17 s has to be worked off within the 30 s of the promise."""


def load_for(settings: dict[str, str]) -> Load:
    """What a store takes in parts of at least SLUICE_S3_MIN_PART."""
    least = int(settings["SLUICE_S3_MIN_PART"])
    if least <= KIB:
        return Load(pause=PAUSE)
    medium = (1 * MIB, least + 1, 2 * least + 1)
    return Load(medium=medium, large=(least, 7 * least - 1), chunks=(least, least), pause=PAUSE)


class StoreProcess(Victim):
    """An S3 store of our own. One that keeps nothing over a restart is stopped, but not killed."""

    def __init__(self, program: StoreProgram, log: Path) -> None:
        self.name = "store"
        self._program = program
        self._log = log
        self._process = self._start()

    @contextmanager
    def running(self) -> Iterator[dict[str, str]]:
        """The SLUICE_* settings of a service with a bucket in it, from readiness to the end."""
        try:
            self._await_ready()
            server = self._program.server
            yield {"SLUICE_STORAGE_URL": f"s3://{new_bucket(server)}/chaos", **server.settings}
        finally:
            self._process.kill()
            self._process.wait(READY_SECONDS)

    async def kill(self) -> bool:
        if not self._program.keeps:
            return False
        self._process.kill()
        await asyncio.to_thread(self._restart)
        return True

    async def stop(self, seconds: float) -> bool:
        self._process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._process.send_signal(signal.SIGCONT)
        return True

    def _restart(self) -> None:
        self._process.wait(READY_SECONDS)
        self._process = self._start()
        self._await_ready()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self._program.environment}
        with self._log.open("ab") as output:
            return subprocess.Popen(
                self._program.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self._program.listens():
            assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, self._log.read_text(errors="replace")[-2000:]
            time.sleep(0.05)


@contextmanager
def store() -> Iterator[tuple[StoreProcess, dict[str, str]]]:
    """The store that this run is about, and the settings of a service that uses it."""
    with ExitStack() as held:
        held.enter_context(credentials())
        folder = held.enter_context(short_folder("chaos-"))
        process = StoreProcess(PROGRAMS[chosen_store()](folder), folder / "store.log")
        yield process, held.enter_context(process.running())


def mirrored(settings: dict[str, str], folder: Path) -> Path:
    """`folder`, with a name for everything that the storage holds; an open multipart upload is one as well."""
    bucket = parse_bucket_url(settings["SLUICE_STORAGE_URL"])
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=settings["SLUICE_S3_ENDPOINT_URL"])
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=bucket.prefix)
    names = [item["Key"].removeprefix(bucket.prefix) for page in pages for item in page.get("Contents", ())]
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket.name, Prefix=bucket.prefix):
        names += [f"{item['Key'].removeprefix(bucket.prefix)}.unsealed" for item in page.get("Uploads", ())]
    client.close()
    folder.mkdir()
    for name in names:
        if is_plain_id(name.partition("/")[0]):  # the mark and what probes leave belong to no tenant
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return folder
