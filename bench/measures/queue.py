"""The queue: how long a job waits for its start, what an idle worker costs, how many jobs a second some workers do."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil

from bench import servers
from bench.measures.databases import postgres_url
from bench.rows import FAILURES, Result, Take, interleave
from bench.servers import Server
from bench.setting import Setting

WORKERS = (1, 2, 4)
SMALL = 1024  # bytes of a file: the queue is measured, not the bytes
START, RATE, IDLE = "ms from queued to started", "jobs/s", "% of a core"
POLLS = 1000
TRIES = 100  # to stop workers in a moment in which none of them holds a lock
LOCK_SECONDS = 0.3  # others, who run, hold it for less
P50, P99 = "p50", "p99"


def measure(setting: Setting) -> Result:
    form = setting.form
    result = Result(
        [
            f"Sluice: `sluice up`, 1 gateway, {max(WORKERS)} workers (those not counted are stopped), fsync off.",
            f"Idle: {form.queue_single} files of {SMALL} bytes one after the other; times of the database.",
            f"Backlog: {form.queue_backlog} files stored over 16 connections while all workers are stopped.",
            "Each file is two jobs (finalize, metadata); the rates count the finalize jobs.",
        ]
    )
    for name, database in (("SQLite", None), ("PostgreSQL", postgres_url)):
        folder = setting.subfolder(f"queue-{name}")
        try:
            if database is None:
                _on(setting, result, folder, name, {})
            else:
                with database() as url:
                    _on(setting, result, folder, name, {"SLUICE_DATABASE_URL": url})
        except FAILURES as error:
            result.skipped[name] = str(error)[:200]
            setting.say(f"{name} is left out: {error}")
    setting.driver_load()
    return result


def _on(setting: Setting, result: Result, folder: Path, name: str, more: dict[str, str]) -> None:
    with servers.ours(folder, "Sluice", workers=max(WORKERS), SLUICE_DURABILITY="none", **more) as server:
        setting.say(f"{name}: idle")
        _idle(setting, result, server, name)
        takes = [
            Take(f"{name}, {workers} workers", lambda w=workers: _backlog(setting, result, server, name, w))  # type: ignore[misc]
            for workers in WORKERS
        ]
        interleave(takes, setting.form.queue_rounds, result, setting.say)


def _idle(setting: Setting, result: Result, server: Server, name: str) -> None:
    with stopped(server, range(2, max(WORKERS) + 1)):
        setting.call("native.one_by_one", url=server.url, size=SMALL, count=3, pause=0.05)  # everything is warm
        time.sleep(1.0)
        before = server.cpu()
        time.sleep(setting.form.idle_seconds)
        used = server.cpu()["worker-1"] - before["worker-1"]
        result.add("idle", f"{name}: one worker", IDLE, 100 * used / setting.form.idle_seconds)
        done = setting.call(
            "native.one_by_one", url=server.url, size=SMALL, count=setting.form.queue_single, pause=0.05
        )
        _starts(result, "idle", name, done.value["jobs"])
        with stopped(server, [1]):
            job = setting.call("native.burst", url=server.url, size=SMALL, count=1, connections=1).value["jobs"][0]
            gateway = [server.pids["gateway-1"]]
            held = setting.call(
                "plain.held_polls",
                url=server.url,
                job=job,
                count=POLLS,
                seconds=setting.form.idle_seconds,
                pids=gateway,
            )
            result.add(f"{POLLS:,} held polls", f"{name}: gateway", IDLE, 100 * held.value["cpu"])


def _backlog(setting: Setting, result: Result, server: Server, name: str, workers: int) -> None:
    count = setting.form.queue_backlog
    with stopped(server, range(workers + 1, max(WORKERS) + 1)):
        with stopped(server, range(1, workers + 1)):
            given = setting.call("native.burst", url=server.url, size=SMALL, count=count, connections=16).value["jobs"]
            woken = time.time()
        jobs = setting.call("native.look", url=server.url, jobs=given, connections=4).value["jobs"]
    first = min(_time(job["started_at"]) for job in jobs)
    last = max(_time(job["finished_at"]) for job in jobs)
    who = f"{name}, {workers} worker{'s' * (workers > 1)}"
    result.add(f"{count:,} queued", who, RATE, count / (last - first))
    if workers == 1:
        waits = [1000 * (_time(job["started_at"]) - woken) for job in jobs]
        _percentiles(result, f"{count:,} queued, from the worker's wake-up", name, waits)


def _starts(result: Result, case: str, name: str, jobs: list[Any]) -> None:
    waits = [1000 * (_time(job["started_at"]) - _time(job["created_at"])) for job in jobs]
    _percentiles(result, case, name, waits)


def _percentiles(result: Result, case: str, name: str, waits: list[float]) -> None:
    cuts = quantiles(waits, n=100, method="inclusive")
    result.add(case, f"{name}: {P50}", START, cuts[49])
    result.add(case, f"{name}: {P99}", START, cuts[98])


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@contextmanager
def stopped(server: Server, numbers: Iterable[int]) -> Iterator[None]:
    """These workers get no processor in the block (SIGSTOP), and none of them holds SQLite's lock meanwhile."""
    pids = [server.pids[f"worker-{number}"] for number in numbers]
    try:
        for _ in range(TRIES):
            _signal(pids, signal.SIGSTOP)
            while any(psutil.Process(pid).status() != psutil.STATUS_STOPPED for pid in pids):
                time.sleep(0.001)  # the last of its threads runs on for a moment
            if not _locked(server.folder / "sluice.db"):
                break
            _signal(pids, signal.SIGCONT)
            time.sleep(0.01)
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def _locked(database: Path) -> bool:
    """Whether somebody holds a place in line, the turn or the lock of writers of an SQLite file; False for another
    database."""
    if not database.exists():
        return False
    places = (Path(f"{database}-turn-next"), Path(f"{database}-turn"))
    return any(_held(place) for place in places) or _write_locked(database)


def _held(lock: Path) -> bool:
    """For longer than those hold it who run."""
    until = time.monotonic() + LOCK_SECONDS
    with lock.open("ab") as file:
        while time.monotonic() < until:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.001)
            else:
                return False
    return True


def _write_locked(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=LOCK_SECONDS, isolation_level=None)) as opened:
        try:
            opened.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False
