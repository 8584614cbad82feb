"""The database refuses, hangs, vanishes behind a network, restarts: 503 in time, nothing piles up, all comes back."""

import asyncio
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.db.migrate import migrate
from common.states import JobState
from tests.faults.outages.own_postgres import OwnPostgres, Proxy
from tests.faults.outages.service import (
    BACK_SECONDS,
    CROWD,
    IN_TIME,
    Answer,
    Request,
    Service,
    service,
    until_served,
)
from tests.fixtures.faults import FaultReport, FaultRow
from tests.integration.gateway.rig import Gateway, environment_of, serve, until
from tests.integration.worker import rig as worker_rig
from tests.integration.worker.process import worker_process

CREATE: Request = ("POST", "/v1/uploads", {"filename": "a.bin", "size": 1})
CROWDS = 3  # tries to be in time: what is always late fails, what a busy machine delayed does not
FLAT = 16 * 1024 * 1024  # bytes that the gateway may have grown by
READERS = 8
LEASE = 2.0  # seconds
FAST = {
    "LEASE_SECONDS": str(LEASE),
    "HEARTBEAT_SECONDS": "0.5",
    "SWEEP_SECONDS": "0.5",
    "DATABASE_TIMEOUT": "1.5",
}
# Seals wait until the test says so.
SLOW_SEAL = """
import pathlib, time
import common.storage.seal as seal
real = seal.Sealing.run
def slow(self):
    pathlib.Path({marker!r}).touch()
    while not pathlib.Path({go_on!r}).exists():
        time.sleep(0.02)
    return real(self)
seal.Sealing.run = slow
"""


def everything(upload_id: str, other_id: str, job_id: str) -> list[Request]:
    """A crowd of all calls that need the database."""
    kinds: list[Request] = [
        CREATE,
        ("GET", f"/v1/uploads/{upload_id}", None),
        ("POST", f"/v1/uploads/{upload_id}/finalize", {}),
        ("DELETE", f"/v1/uploads/{other_id}", None),
        ("GET", f"/v1/jobs/{job_id}?wait=20", None),
        ("GET", "/v1/jobs", None),
        ("GET", "/v1/files", None),
        ("POST", "/v1/files?filename=a", b"x"),
    ]
    return kinds * (CROWD // len(kinds))


def refused_in_time(crowd: Callable[[], list[Answer]]) -> float:
    """Everybody is refused clearly; the longest wait in seconds."""
    slowest = float("inf")
    for _ in range(CROWDS):
        answers = crowd()
        assert {(answer.status, answer.code()) for answer in answers} == {(503, "database_unavailable")}
        assert all(answer.fields["retry-after"] for answer in answers)
        slowest = min(slowest, max(answer.seconds for answer in answers))
        if slowest <= IN_TIME:
            break
    assert slowest <= IN_TIME
    return slowest


def own_database(cluster: OwnPostgres) -> str:
    """URL of a migrated database that no other test uses: a database knows its storage."""
    name = f"own_{time.monotonic_ns()}"
    cluster.execute(f"CREATE DATABASE {name}")
    url = cluster.url(database=name)
    migrate(url)
    return url


@pytest.fixture(scope="module")
def proxy(cluster: OwnPostgres) -> Iterator[Proxy]:
    """What stands between the gateway and the database."""
    migrate(cluster.url())
    proxy = Proxy(cluster.port)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def served(
    cluster: OwnPostgres, proxy: Proxy, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A gateway and a worker over PostgreSQL, behind the proxy."""
    folder = tmp_path_factory.mktemp("served")
    settings = {"DATABASE_URL": cluster.url(proxy.port), "REDIS_QUEUE_PREFIX": folder.name}
    settings |= {name: FAST[name] for name in ("LEASE_SECONDS", "HEARTBEAT_SECONDS", "SWEEP_SECONDS")}
    with service(folder, redis_server, worker=True, **settings) as running:
        yield running


@pytest.mark.parametrize("how", ["refuses", "is a black hole"])
def test_a_database_that_is_away_is_503_in_time_and_chunks_go_on(
    how: str, served: Service, cluster: OwnPostgres, proxy: Proxy, faults: FaultReport
) -> None:
    go, come_back = {"refuses": (cluster.stop, cluster.start), "is a black hole": (proxy.swallow, proxy.pass_on)}[how]
    gateway = served.gateway
    upload, other = gateway.create(10, chunk_size=5), gateway.send(b"y")
    job = gateway.finalize(gateway.send(b"z")).json()
    gateway.put(upload, 0, b"01234")
    descriptors, memory = served.descriptors(), served.rss()

    go()
    began = time.monotonic()
    assert gateway.put(upload, 1, b"56789").status_code == 200
    assert time.monotonic() - began < IN_TIME
    requests = everything(upload["id"], other["id"], job["id"])
    crowds = 20 if faults.full else 1
    slowest = max(refused_in_time(lambda: served.crowd(requests)) for _ in range(crowds))
    assert gateway.http.get("/livez").status_code == 200
    ready = gateway.http.get("/readyz")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["database_unavailable"])
    come_back()

    recovery = until_served(gateway, CREATE, 201)
    assert gateway.finish(upload)["size"] == 10
    assert gateway.http.get(f"/v1/jobs/{job['id']}?wait=20").json()["state"] == "succeeded"
    assert {answer.status for answer in served.crowd([("GET", "/v1/files", None)] * READERS)} == {200}
    assert served.rss() - memory < FLAT
    until(lambda: served.descriptors() <= descriptors + 5)  # the pool holds at most five
    assert recovery < BACK_SECONDS
    faults.note(
        FaultRow(
            f"PostgreSQL {how}: {CROWD} requests at once refused within {slowest:.1f} s",
            points=crowds * CROWD,
            chunks_checked=2,
            files_checked=2,
            longest_recovery=recovery,
        )
    )


def test_a_database_that_crashes_and_restarts_is_503_at_the_worst(
    served: Service, cluster: OwnPostgres, faults: FaultReport
) -> None:
    """Lost connections, starting up, recovering: each has words of its own, and none of them is a 500."""
    gateway = served.gateway
    over = threading.Event()

    def ask() -> list[Answer]:
        answers = []
        while not over.is_set():
            answers += served.crowd([CREATE, ("GET", "/v1/files", None)] * 8)
        return answers

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask)
        recovery = 0.0
        for _ in range(10 if faults.full else 2):
            cluster.kill_backends()
            cluster.stop(signal.SIGQUIT)
            cluster.start()
            recovery = max(recovery, until_served(gateway, CREATE, 201))
        over.set()
        answers = asking.result()
    assert {answer.status for answer in answers} <= {200, 201, 503}
    assert {answer.code() for answer in answers if answer.status == 503} <= {"database_unavailable"}
    faults.note(FaultRow("PostgreSQL crashes and restarts under load", points=len(answers), longest_recovery=recovery))


def test_a_frozen_database_leaves_no_request_and_no_task_behind(
    cluster: OwnPostgres, proxy: Proxy, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a chunk is taken long after the facts of its upload were read."""
    environment = environment_of(tmp_path, redis_url, DATABASE_URL=own_database(cluster))
    with serve(tmp_path, environment) as gateway:
        inside = Service(gateway, None, None, ())  # type: ignore[arg-type]  # a thread of this process
        upload, other = gateway.create(10, chunk_size=5), gateway.create(1)
        gateway.put(upload, 0, b"01234")
        monkeypatch.setattr("gateway.service.facts.TTL", 0.5)  # seconds
        gateway.services.chunks._facts.prolong("default", upload["id"])
        tasks = tasks_of(gateway)
        waited = time.monotonic() + 0.5
        cluster.freeze()
        try:
            refused_in_time(lambda: inside.crowd(everything(upload["id"], other["id"], upload["id"])))
            assert time.monotonic() > waited
            assert gateway.put(upload, 1, b"56789").status_code == 200
            until(lambda: tasks_of(gateway) <= tasks, BACK_SECONDS)
        finally:
            cluster.go_on()
        until_served(gateway, CREATE, 201)
        assert gateway.look(upload)["missing"] == []


def tasks_of(gateway: Gateway) -> int:
    """Tasks of the gateway's loop but for those of open connections."""
    loop = gateway.services.waiters._tasks[0].get_loop()
    return len(asyncio.all_tasks(loop))


def test_a_locked_sqlite_refuses_writers_in_time_and_serves_readers(
    folder: Path, redis_url: str, faults: FaultReport
) -> None:
    """The worker is one more writer that waits for the same lock: its turn must not be added to ours."""
    with (
        service(folder, redis_url, worker=True) as running,
        closing(sqlite3.connect(folder / "sluice.db", isolation_level=None)) as stranger,
    ):
        gateway = running.gateway
        upload, other = gateway.create(10, chunk_size=5), gateway.send(b"y")
        gateway.put(upload, 0, b"01234")
        requests = everything(upload["id"], other["id"], "none")
        writers = [request for request in requests if request[0] != "GET" and "finalize" not in request[1]]
        stranger.execute("BEGIN EXCLUSIVE")
        assert gateway.put(upload, 1, b"56789").status_code == 200
        slowest = refused_in_time(lambda: running.crowd(writers * 3)[:CROWD])
        assert {answer.status for answer in running.crowd([("GET", "/v1/files", None)] * READERS)} == {200}
        assert gateway.http.get("/livez").status_code == 200
        stranger.execute("ROLLBACK")
        recovery = until_served(gateway, CREATE, 201)
        assert gateway.finish(upload)["size"] == 10
    title = f"SQLite locked by a stranger: {len(writers) * 3} writers refused within {slowest:.1f} s"
    faults.note(FaultRow(title, len(writers) * 3, chunks_checked=2, files_checked=1, longest_recovery=recovery))


@pytest.fixture
async def rig(cluster: OwnPostgres, redis_url: str, tmp_path: Path) -> AsyncIterator[worker_rig.Rig]:
    """What a gateway would do, over a database of this test's own in the cluster."""
    url = await asyncio.to_thread(own_database, cluster)
    rig = await worker_rig.open_rig(worker_rig.worker_settings(url, redis_url, tmp_path, **FAST))
    yield rig
    await worker_rig.close_rig(rig)


@pytest.mark.parametrize(("away", "attempts"), [(LEASE / 6, 1), (2 * LEASE, 2)], ids=["short", "longer than a lease"])
async def test_a_worker_in_the_middle_of_a_job_survives_and_the_job_ends(
    away: float,
    attempts: int,
    rig: worker_rig.Rig,
    cluster: OwnPostgres,
    redis_url: str,
    tmp_path: Path,
    faults: FaultReport,
) -> None:
    if attempts > 1 and not faults.full:
        pytest.skip("seconds of waiting for a lease to run out: in the full form only (make faults)")
    marker, go_on = tmp_path / "sealing", tmp_path / "go-on"
    wrapper = SLOW_SEAL.format(marker=str(marker), go_on=str(go_on))
    environment = worker_rig.worker_environment(rig.settings.database.database_url, redis_url, tmp_path, **FAST)
    job = await rig.finalize(await rig.upload(b"z" * 2500))
    async with worker_process(environment, tmp_path / "w", ready=False, wrapper=wrapper) as worker:
        await worker_rig.until(_there(marker))
        cluster.freeze()
        await asyncio.sleep(away)  # the length of the outage is what is tested
        cluster.go_on()
        go_on.touch()
        await worker_rig.until(_succeeded(rig, job.id), 15)
        assert worker.process.returncode is None, worker.log.read_text()
    assert (await rig.job(job.id)).attempts == attempts
    faults.note(FaultRow(f"PostgreSQL frozen for {away:.1f} s under a job (lease {LEASE:.0f} s)", 1, files_checked=1))


def _there(path: Path) -> Any:
    async def look() -> bool:
        return await asyncio.to_thread(path.exists)

    return look


def _succeeded(rig: worker_rig.Rig, job_id: str) -> Any:
    async def look() -> bool:
        try:
            return (await rig.job(job_id)).state == JobState.SUCCEEDED
        except Exception:
            return False

    return look
