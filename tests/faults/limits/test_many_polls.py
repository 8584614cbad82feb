"""A thousand clients that wait for their jobs on one gateway: no busy loop, and all hear of the end at once."""

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.faults.outages.service import Service, service
from tests.fixtures.faults import FaultReport, FaultRow
from tests.integration.gateway.rig import Json, until

CLIENTS = 1000
PREFIX = "many-polls"
JOBS = 100
QUIET_SECONDS = 4.0
MOST_CPU = 0.25  # of a core while all wait; 2 % was measured
IN_TIME = 5.0  # seconds until the last of them has its answer; 0.5 s was measured


@pytest.fixture
def running(tmp_path: Path, migrated_sqlite: Path, redis_url: str) -> Iterator[Service]:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(migrated_sqlite, folder / "sluice.db")
    with service(folder, redis_url, REDIS_QUEUE_PREFIX=PREFIX) as opened:
        yield opened


async def poll(running: Service, jobs: list[Json], faults: FaultReport, redis_url: str) -> None:
    gateway, process = running.gateway, running.process
    opened = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(CLIENTS)]
    for number, (_, writer) in enumerate(opened):
        path = f"/v1/jobs/{jobs[number % JOBS]['id']}?wait=60"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    await asyncio.to_thread(until, lambda: gateway.metric("sluice_http_polls_waiting") == CLIENTS, 60)
    before = sum(process.cpu_times()[:2])
    await asyncio.sleep(QUIET_SECONDS)  # the measurement itself
    used = (sum(process.cpu_times()[:2]) - before) / QUIET_SECONDS
    gateway.sql("UPDATE jobs SET state = 'succeeded', finished_at = '2026-01-01 00:00:00.000000'")
    began = time.monotonic()
    with redis.Redis.from_url(redis_url) as server:
        for job in jobs:
            server.publish(f"{PREFIX}:ended", job["id"])
    answers = await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in opened)), 60)
    seconds = time.monotonic() - began
    for _, writer in opened:
        writer.close()
    note = f"{CLIENTS} waiting polls: {100 * used:.0f} % of a core, {running.rss() // 2**20} MiB"
    faults.note(FaultRow(note, points=CLIENTS, longest_recovery=seconds))
    assert sum(b'"state":"succeeded"' in answer for answer in answers) == CLIENTS
    assert used < MOST_CPU
    assert seconds < IN_TIME


def test_a_thousand_polls_wait_quietly_and_are_answered_together(
    running: Service, redis_url: str, faults: FaultReport
) -> None:
    gateway = running.gateway
    jobs = [dict(gateway.finalize(gateway.send(b"x")).json()) for _ in range(JOBS)]
    asyncio.run(poll(running, jobs, faults, redis_url))
