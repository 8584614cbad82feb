"""When a worker calls itself live, and when ready."""

import asyncio
import threading
from dataclasses import dataclass

import pytest
from httpx import ASGITransport, AsyncClient, Response

from common.errors import DatabaseUnavailable, InsufficientStorage
from common.probes import Check
from common.settings import WorkerSettings
from common.storage.threads import Threads
from common.telemetry import Metrics
from tests.unit.worker.stand_ins import Clock
from worker.health import POLL_SILENCE, Health, health_app


@dataclass
class Ticker:
    ticked_at: float = 1000.0


@dataclass
class Worker:
    """A running worker as its health sees it."""

    health: Health
    clock: Clock
    loop: Ticker
    heartbeat: Ticker
    database_away: bool = False

    async def database(self) -> None:
        if self.database_away:
            raise DatabaseUnavailable("away")

    async def get(self, path: str) -> Response:
        transport = ASGITransport(health_app(self.health, Metrics()))
        async with AsyncClient(transport=transport, base_url="http://worker", trust_env=False) as client:
            return await client.get(path)


@pytest.fixture
def worker() -> Worker:
    clock = Clock()
    health = Health(WorkerSettings.model_validate({"heartbeat_seconds": 5}), clock=clock)
    worker = Worker(health, clock, Ticker(), Ticker())
    health.watch({"finalize": worker.loop}, worker.heartbeat, {"database": worker.database})
    health.phase = "running"
    return worker


async def test_a_worker_that_turns_is_live_and_ready(worker: Worker) -> None:
    for path in ("/livez", "/readyz"):
        answer = await worker.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_poll_loop_that_hangs_is_named(worker: Worker) -> None:
    worker.clock.now += POLL_SILENCE + 1
    worker.heartbeat.ticked_at = worker.clock.now
    for path in ("/livez", "/readyz"):
        answer = await worker.get(path)
        assert answer.status_code == 503
        assert answer.json() == {"status": "unavailable", "reasons": ["poll loop finalize"]}


async def test_a_heartbeat_that_hangs_is_named(worker: Worker) -> None:
    worker.clock.now += POLL_SILENCE + 1
    worker.loop.ticked_at = worker.clock.now
    assert (await worker.get("/livez")).json()["reasons"] == ["heartbeat"]


async def test_a_database_that_is_away_is_no_reason_to_be_restarted(worker: Worker) -> None:
    worker.database_away = True
    assert (await worker.get("/livez")).status_code == 200
    assert (await worker.get("/readyz")).json()["reasons"] == ["database does not answer"]


@pytest.mark.parametrize(("away", "ready"), [(False, "1.0"), (True, "0.0")])
async def test_a_scrape_tells_whether_the_worker_is_ready(worker: Worker, away: bool, ready: str) -> None:
    worker.database_away = away
    assert f'sluice_ready{{part="worker"}} {ready}' in (await worker.get("/metrics")).text


async def test_a_check_that_breaks_is_told_and_the_others_are_asked_all_the_same(worker: Worker) -> None:
    async def broken() -> None:
        raise RuntimeError("Event loop is closed")

    worker.database_away = True
    checks: dict[str, Check] = {"redis": broken, "database": worker.database}
    worker.health.watch({"finalize": worker.loop}, worker.heartbeat, checks)
    answer = await worker.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["redis cannot be asked", "database does not answer"]


async def test_a_storage_that_hangs_is_told_in_time_and_holds_one_thread(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.probes.PROBE_SECONDS", 0.1)
    gate, threads, hanging = threading.Event(), Threads(4, "test"), []

    def hang() -> None:
        hanging.append(1)
        gate.wait(15)

    worker.health.watch({"finalize": worker.loop}, worker.heartbeat, {"storage": lambda: threads.run(hang)})
    try:
        async with asyncio.timeout(10):
            answers = [await worker.get("/readyz") for _ in range(10)]
            scrape = await worker.get("/metrics")
    finally:
        gate.set()
        await worker.health.close(5)
        await threads.close()
    assert {answer.status_code for answer in answers} == {503}
    assert answers[-1].json()["reasons"] == ["storage does not answer"]
    assert 'sluice_ready{part="worker"} 0.0' in scrape.text
    assert len(hanging) == 1


async def test_a_full_storage_takes_no_worker_out(worker: Worker) -> None:
    async def full() -> None:
        raise InsufficientStorage("no room")

    worker.health.watch({"finalize": worker.loop}, worker.heartbeat, {"storage": full})
    assert (await worker.get("/readyz")).json() == {"status": "ok"}


@pytest.mark.parametrize("phase", ["starting", "draining"])
async def test_a_worker_that_starts_or_drains_is_live_but_not_ready(worker: Worker, phase: str) -> None:
    worker.health.phase = phase
    assert (await worker.get("/livez")).status_code == 200
    assert (await worker.get("/readyz")).json()["reasons"] == [phase]


async def test_a_draining_worker_may_have_ended_its_poll_loops(worker: Worker) -> None:
    worker.health.phase = "draining"
    worker.clock.now += POLL_SILENCE + 1
    worker.heartbeat.ticked_at = worker.clock.now
    assert (await worker.get("/livez")).status_code == 200


async def test_metrics_are_prometheus_text(worker: Worker) -> None:
    answer = await worker.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "sluice_lease_lost_total 0.0" in answer.text
