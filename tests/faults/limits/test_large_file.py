"""A file far larger than memory goes through finalize: the worker holds two buffers of it, whatever its size."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from awscrt import checksums

from common.storage.base import Receipt
from common.storage.receipts import Ledgers
from tests.faults.outages.service import Service, service
from tests.fixtures.faults import FaultReport, FaultRow
from tests.integration.gateway.rig import Json

MIB, GIB = 1024 * 1024, 1024 * 1024 * 1024
SMALL = 64 * MIB
SHORT, FULL = 1 * GIB, 10 * GIB
CHUNK = 1 * GIB
DIFFERENCE = 16 * MIB  # that the large file may cost over the small one
LOOK_SECONDS = 0.01


@pytest.fixture
def running(tmp_path: Path, migrated_sqlite: Path, redis_url: str) -> Iterator[Service]:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(migrated_sqlite, folder / "sluice.db")
    with service(folder, redis_url, worker=True) as opened:
        yield opened


def crc_of_zeros(count: int) -> int:
    crc, zeros = 0, bytes(min(count, SMALL))
    while count > 0:
        crc = checksums.crc64nvme(zeros[:count], crc)
        count -= len(zeros)
    return crc


def sparse(running: Service, size: int) -> Json:
    """An upload of zeros: the data file is a hole, as `create` makes it, and every chunk has its receipt."""
    gateway = running.gateway
    upload = gateway.create(size, chunk_size=min(size, CHUNK))
    ledger = Ledgers().of(gateway.upload_folder(upload["id"]))
    crc = crc_of_zeros(upload["chunk_size"])
    for index in range(upload["chunk_count"]):
        ledger.append(Receipt(index * CHUNK, upload["chunk_size"], crc), durable=False)
    assert gateway.look(upload)["missing"] == []
    return upload


@contextmanager
def highest_rss(process: psutil.Process) -> Iterator[list[int]]:
    """Looks again and again while the block runs; the highest number of resident bytes stands in the list."""
    over, highest = threading.Event(), [0]

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            highest[0] = max(highest[0], process.memory_info().rss)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield highest
    finally:
        over.set()
        looking.join()


@pytest.mark.timeout(300)
def test_memory_of_a_worker_does_not_depend_on_the_size_of_the_file(running: Service, faults: FaultReport) -> None:
    assert running.worker is not None
    worker = psutil.Process(running.worker.pid)
    size = FULL if faults.full else SHORT
    peaks = []
    for each in (SMALL, size):
        upload = sparse(running, each)
        with highest_rss(worker) as highest:
            job = running.gateway.finalize(upload).json()
            for _ in range(4):
                job = running.gateway.http.get(f"/v1/jobs/{job['id']}?wait=15").json()
        assert job["state"] == "succeeded", job
        assert running.gateway.http.get(job["links"]["file"]).json()["size"] == each
        peaks.append(highest[0])
    measured = f"worker {peaks[0] // MIB} MiB at {SMALL // MIB} MiB, {peaks[1] // MIB} at {size // GIB} GiB"
    faults.note(FaultRow(f"sparse file through finalize: {measured}", points=2, files_checked=2))
    assert peaks[1] - peaks[0] <= DIFFERENCE
