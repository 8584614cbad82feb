"""Sixteen clients upload while one random process after another is killed or stopped, and Redis is emptied twice.

The short form runs on SQLite with a short lease, the full one (`make chaos MINUTES=30`) on PostgreSQL with the default
settings. With CHAOS_STORAGE=s3 the bytes are in an S3 store, which is stopped as well, and killed where it keeps what
it has (S3_STORE=versitygw). CHAOS_SEED repeats the draws of an earlier run; what they meet depends on the machine.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import httpx
import pytest

from tests.faults.chaos.bucket import StoreProcess, load_for, mirrored, store
from tests.faults.chaos.crowd import Load, Memory, Uploader
from tests.faults.chaos.fleet import Fleet, PostgresProcesses, SqliteFile, Victim
from tests.faults.chaos.verdict import Books, books, judge
from tests.fixtures.bad_link import BadLink
from tests.fixtures.faults import FaultReport, FaultRow
from tests.fixtures.postgres import prepared_cluster
from tests.fixtures.s3 import chosen_store
from tests.fixtures.stack import StartStack

CLIENTS = 16
BEHIND_BAD_LINK = 6
WITH_LARGE_FILES = 2
FLUSHES = 2
RECOVERY_SECONDS = 30.0  # the promise, for files up to 1 GiB
AIM_SECONDS = 1.5
PATIENCE = 60.0  # for what is no promise: clients that finish, abandoned uploads that expire


@dataclass(frozen=True)
class Form:
    """How long and how hard. All times in seconds."""

    seconds: float
    stopped: float  # longer than a lease
    pause: tuple[float, float]
    finish: float  # what clients get after the last fault for the file at hand
    gateways: int
    settings: dict[str, str] = field(default_factory=dict)


SHORT = Form(
    seconds=15,
    stopped=3.3,
    pause=(0.3, 0.8),
    finish=3,
    gateways=2,
    settings={
        "SLUICE_LEASE_SECONDS": "3",
        "SLUICE_HEARTBEAT_SECONDS": "1",
        "SLUICE_SWEEP_SECONDS": "1",
        "SLUICE_UPLOAD_TTL": "6",
    },
)
FULL = Form(
    seconds=60 * float(os.environ.get("CHAOS_MINUTES", "5")),
    stopped=17,
    pause=(2, 5),
    finish=30,
    gateways=3,
    settings={"SLUICE_UPLOAD_TTL": "60"},
)


@pytest.fixture
def form(faults: FaultReport) -> Form:
    return FULL if faults.full else SHORT


@pytest.fixture
def bucket() -> Iterator[tuple[StoreProcess, dict[str, str]] | None]:
    """The store and its settings; None where the storage is in the stack's own folder."""
    if os.environ.get("CHAOS_STORAGE") != "s3":
        yield None
        return
    with store() as running:
        yield running


@pytest.fixture
def place(bucket: tuple[StoreProcess, dict[str, str]] | None) -> dict[str, str]:
    """Settings of a storage that is not in the stack's own folder."""
    return bucket[1] if bucket is not None else {}


@pytest.fixture
def load(place: dict[str, str]) -> Load:
    return load_for(place) if place else Load()


@pytest.fixture
def fleet(
    start_stack: StartStack,
    form: Form,
    bucket: tuple[StoreProcess, dict[str, str]] | None,
    place: dict[str, str],
    faults: FaultReport,
) -> Iterator[tuple[Fleet, str]]:
    """Everything that runs, and the URL of the database."""
    workers = 2
    others = [bucket[0]] if bucket is not None else []
    with ExitStack() as running:
        if faults.full:
            processes = PostgresProcesses(running.enter_context(prepared_cluster()))
            url = running.enter_context(processes.running())
            stack = start_stack(form.gateways, workers, SLUICE_DATABASE_URL=url, **place, **form.settings)
            running.callback(stack.stop)  # before its database ends
            yield Fleet(stack, form.gateways, workers, processes, *others), url
        else:
            stack = start_stack(form.gateways, workers, **place, **form.settings)
            path = stack.data / "sluice.db"
            yield Fleet(stack, form.gateways, workers, SqliteFile(path), *others), f"sqlite:///{path}"


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("CHAOS_SEED", time.time_ns() % 1_000_000))


class Chaos:
    """Fault after fault, each kind of victim in turn, killed and stopped, in a random order."""

    def __init__(self, fleet: Fleet, form: Form, rows: Books, random: Random) -> None:
        self.faults = 0
        self.in_a_job = 0
        self.flushes = 0
        self._fleet = fleet
        self._form = form
        self._rows = rows
        self._random = random
        self._every = list(itertools.product(fleet.kinds, ("kill", "stop")))

    async def run(self) -> None:
        began = time.monotonic()
        for number, (kind, how) in enumerate(self._draws()):
            passed = time.monotonic() - began
            progress = min(passed / self._form.seconds, number / len(self._every))  # each fault happens once at least
            if progress > (self.flushes + 1) / 3 and self.flushes < FLUSHES:
                self.flushes += self._fleet.flush()
            if progress >= 1 and self.flushes == FLUSHES:
                return
            victim = await self._busy_worker() if kind == "worker" else None
            self.in_a_job += victim is not None
            victim = victim or self._random.choice(self._fleet.kinds[kind])
            happened = await (victim.kill() if how == "kill" else victim.stop(self._form.stopped))
            self.faults += happened
            print(f"{passed:7.1f} s  {how} {victim.name}{'' if happened else ' (was not running)'}")
            await asyncio.sleep(self._random.uniform(*self._form.pause))

    async def _busy_worker(self) -> Victim | None:
        """A worker that has a job right now: jobs are short, a blind shot would meet an idle one."""
        give_up = time.monotonic() + AIM_SECONDS
        while time.monotonic() < give_up:
            owners = await self._rows.lease_owners()
            for worker in self._fleet.kinds["worker"]:
                if owners & {worker.pid()}:
                    return worker
            await asyncio.sleep(0.003)
        return None

    def _draws(self) -> Iterator[tuple[str, str]]:
        while True:
            yield from self._random.sample(self._every, len(self._every))


@asynccontextmanager
async def crowd(
    url: str, folder: Path, memory: Memory, stop: asyncio.Event, load: Load, seed: int
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Sixteen clients at work, some of them behind a bad link that is healed when `stop` is set."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with AsyncExitStack() as held:
        link = await held.enter_async_context(BadLink(parts.hostname, parts.port, seed=seed))
        clients = []
        for number in range(CLIENTS):
            bad = number < BEHIND_BAD_LINK
            more = () if bad else load.large if number >= CLIENTS - WITH_LARGE_FILES else load.medium
            client = Uploader(
                link.url if bad else url,
                folder / f"client-{number}",
                memory,
                load=load,
                sizes=load.small + more,
                seed=seed + number,
            )
            clients.append(asyncio.create_task(client.run(stop)))
        try:
            yield clients
        finally:
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            print(f"connections over the bad link: {dict(link.drawn)}")


@pytest.mark.slow
@pytest.mark.timeout(0)  # bounded below: the full form takes as long as it is told to
async def test_what_was_accepted_is_ready_whatever_dies(
    fleet: tuple[Fleet, str],
    form: Form,
    load: Load,
    seed: int,
    place: dict[str, str],
    tmp_path: Path,
    faults: FaultReport,
) -> None:
    service, database_url = fleet
    print(f"\nCHAOS_SEED={seed}")
    memory, stop = Memory(), asyncio.Event()
    async with asyncio.timeout(2 * form.seconds + 4 * PATIENCE):
        async with books(database_url) as rows, crowd(service.stack.url, tmp_path, memory, stop, load, seed) as clients:
            chaos = Chaos(service, form, rows, Random(seed))
            await chaos.run()
            promised = [entry.job_id for entry in memory.accepted]
            recovery = await rows.until_finished(RECOVERY_SECONDS, promised)
            stop.set()
            await asyncio.wait(clients, timeout=form.finish)
            broken = [task.exception() for task in clients if task.done() and task.exception()]
            assert broken == []
        async with books(database_url) as rows:
            await rows.until_finished(RECOVERY_SECONDS)
            await rows.until_cleaned(PATIENCE + float(form.settings["SLUICE_UPLOAD_TTL"]))
            async with httpx.AsyncClient(base_url=service.stack.url, timeout=60, trust_env=False) as http:
                assert (await http.get("/readyz")).is_success  # as its probes go on doing
                storage = mirrored(place, tmp_path / "bucket") if place else service.stack.data / "storage"
                verdict = await judge(rows, http, storage, memory.accepted)
    verdict.orphans += service.held_locks(storage)
    where = f" over S3 ({chosen_store()})" if place else ""
    row = FaultRow(
        f"chaos{where}, {form.seconds / 60:.1f} min, {CLIENTS} clients, seed {seed}",
        points=chaos.faults + chaos.flushes,
        chunks_checked=memory.chunks,
        chunks_lost=len(memory.lost_chunks),
        chunks_altered=len(verdict.altered),
        files_checked=verdict.checked,
        stuck_jobs=len(verdict.stuck),
        orphans=len(verdict.orphans),
        longest_recovery=recovery,
    )
    faults.note(row)
    print(f"workers hit while they had a job: {chaos.in_a_job}; errors that clients met: {dict(memory.errors)}")
    assert verdict.good, verdict
    assert memory.lost_chunks == []
    assert verdict.checked >= CLIENTS, "too little was accepted to say anything"
