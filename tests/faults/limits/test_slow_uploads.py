"""Hundreds of slow uploads at once: memory of the gateway is bounded by their number, not by their bytes."""

import asyncio
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.outages.service import Service, service
from tests.fixtures.faults import FaultReport, FaultRow
from tests.fixtures.s3 import S3Server, new_bucket
from tests.integration.gateway.rig import Gateway, Json, until

MIB = 1024 * 1024
SHORT, FULL = 256, 1000  # uploads at once
SHORT_OVER_S3 = 64  # the store and the gateway take half a minute of processor time for 256; `make faults` has 1000
CHUNK = 5 * MIB
SHORT_BODY = 2 * MIB  # of each upload where there is no smallest part; all of them are three times the budget
SMALL, LARGE = 16 * 1024, 64 * 1024  # bytes that a client sends before all others have sent as many
SLOWLY = 512 * 1024  # bytes of each body that come in small pieces
MOST = 160 * MIB  # design: at 256 slow uploads; also where they all hurry at the same moment
MORE_OVER_S3 = 40 * MIB  # aiobotocore and what it knows of S3, and a second connection for each chunk
MORE_OF_STREAMS = 16 * MIB  # a row and a turn for each, and bodies that wait while pieces are synced: 155 to 163 MiB
MORE_OF_STREAMS_OVER_S3 = 40 * MIB  # what they hold together, and a few whole pieces: 205 to 213 MiB
EACH_MORE = 160 * 1024  # bytes for every further connection
REST = 0.03  # seconds; three of the ticks in which processor time is counted
POOL = 5  # connections that the database may have opened meanwhile; each has up to three descriptors


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings of the storage, without their prefix. A store that keeps all bytes in memory is too small here."""
    if request.param == "local":
        return {}
    server: S3Server = request.getfixturevalue("versitygw_server")
    settings = {"SLUICE_STORAGE_URL": f"s3://{new_bucket(server)}", **server.settings}
    return {name.removeprefix("SLUICE_"): value for name, value in settings.items() if name.startswith("SLUICE_")}


@pytest.fixture
def running(tmp_path: Path, migrated_sqlite: Path, redis_url: str, place: dict[str, Any]) -> Iterator[Service]:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(migrated_sqlite, folder / "sluice.db")
    with service(folder, redis_url, **place) as opened:
        yield opened


@dataclass
class Peaks:
    """Highest resident bytes of the gateway: while clients were slow, and while they sent as fast as it took."""

    slow: int = 0
    fast: int = 0


@dataclass(frozen=True)
class Protocol:
    """How a client makes an upload of one body of so many bytes, and the head of the request that brings it."""

    create: Callable[[Gateway, int], Json]
    head: str
    status: bytes


def stream(gateway: Gateway, size: int) -> Json:
    """A new upload of tus; as with a chunk, the body alone does not finish it."""
    answer = gateway.http.post("/tus/", headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(2 * size)})
    assert answer.status_code == 201, answer.text
    return {"id": answer.headers["location"].rpartition("/")[2]}


CHUNKS = Protocol(lambda gateway, size: gateway.create(size, chunk_size=size), "PUT /v1/uploads/{id}/chunks/0", b"200")
APPENDS = Protocol(stream, "PATCH /tus/{id}", b"204")
FIELDS = "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream"  # of tus alone


async def send(running: Service, protocol: Protocol, uploads: list[Json], data: bytes, peaks: Peaks) -> list[bytes]:
    """Send the body of each upload, all growing side by side; the status lines."""
    opened = [await asyncio.open_connection("127.0.0.1", running.gateway.port) for _ in uploads]
    for (_, writer), upload in zip(opened, uploads, strict=True):
        line = protocol.head.format(id=upload["id"])
        writer.write(f"{line} HTTP/1.1\r\nHost: test\r\n{FIELDS}\r\nContent-Length: {len(data)}\r\n\r\n".encode())
    for start in range(0, SLOWLY, SMALL):
        await one_round([writer for _, writer in opened], data[start : start + SMALL])
        await caught_up(running.process)
        peaks.slow = max(peaks.slow, running.rss())
    for start in range(SLOWLY, len(data), LARGE):
        await one_round([writer for _, writer in opened], data[start : start + LARGE])
        peaks.fast = max(peaks.fast, running.rss())
    answers = []
    for reader, writer in opened:
        answers.append(await asyncio.wait_for(reader.readline(), 60))
        writer.close()
    return answers


async def caught_up(gateway: psutil.Process) -> None:
    """Clients are slower than the gateway: it has taken everything before more comes, and rests."""
    used = -1.0
    while used != (used := sum(gateway.cpu_times()[:2])):  # noqa: ASYNC110
        await asyncio.sleep(REST)


async def one_round(writers: list[asyncio.StreamWriter], piece: bytes) -> None:
    random.shuffle(writers)  # who is ahead changes
    for writer in writers:
        writer.write(piece)
        await writer.drain()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("protocol", [CHUNKS, APPENDS], ids=["chunks", "appends"])
def test_slow_uploads_side_by_side_stay_within_the_memory_budget(
    running: Service, place: dict[str, Any], protocol: Protocol, faults: FaultReport
) -> None:
    count = FULL if faults.full else SHORT_OVER_S3 if place else SHORT
    gateway = running.gateway
    size = CHUNK if faults.full or place else SHORT_BODY
    uploads = [protocol.create(gateway, size) for _ in range(count)]
    base, descriptors, peaks = running.rss(), running.descriptors(), Peaks()

    answers = asyncio.run(send(running, protocol, uploads, bytes(size), peaks))

    assert {answer.split()[1] for answer in answers} == {protocol.status}
    assert all(gateway.look(upload)["received_bytes"] == size for upload in (uploads[0], uploads[-1]))
    until(lambda: gateway.metric("sluice_intake_bytes") == 0)
    until(lambda: running.descriptors() <= descriptors + POOL * 3)
    measured = f"{base // MIB} MiB before, {peaks.slow // MIB} at the peak, {peaks.fast // MIB} when they hurry"
    where = f"{' as streams' if protocol is APPENDS else ''}{' over S3' if place else ''}"
    faults.note(FaultRow(f"{count} slow uploads at once{where}: RSS {measured}", points=count, chunks_checked=count))
    more = max(0, count - SHORT) * EACH_MORE + (MORE_OVER_S3 if place else 0)
    if protocol is APPENDS:
        more += MORE_OF_STREAMS_OVER_S3 if place else MORE_OF_STREAMS
    assert max(peaks.slow, peaks.fast) < MOST + more
