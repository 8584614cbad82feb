"""A burst of small files that waits for its only worker: what the simulation is held against."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from redis import Redis

from bench.driver import Connection, in_threads
from bench.scaling.counters import QUEUES, await_idle, difference, read
from bench.scaling.stack import Stack
from bench.workloads import SMALL

CONNECTIONS = 64
SPAN = "SELECT extract(epoch FROM max(finished_at) - min(started_at)) FROM jobs WHERE id > '{after}'"


def drain(up: Stack, count: int) -> dict[str, float]:
    """Store so many files while the worker is stopped, then let it go on: seconds by the database's clock.

    `stretch` is how much longer the worker's main thread took for its CPU seconds because others had the cores.
    """
    pid = up.pids["worker-1"]
    after = _ask(up, "SELECT coalesce(max(id)::text, '') FROM jobs")
    os.kill(pid, signal.SIGSTOP)
    try:
        _store(up.url, count)
        with Redis.from_url(up.redis_url) as redis:
            rings = sum(int(redis.zcard(queue)) for queue in QUEUES)
        before, (ran, queued) = read(up), _scheduled(pid)
    finally:
        os.kill(pid, signal.SIGCONT)
    await_idle(up)
    ran_after, queued_after = _scheduled(pid)
    cpu = difference(read(up), before)["cpu.worker"]
    seconds = float(_ask(up, SPAN.format(after=after)))
    stretch = 1 + (queued_after - queued) / (ran_after - ran)
    return {"files": count, "rings": rings, "seconds": seconds, "cpu": round(cpu, 3), "stretch": round(stretch, 3)}


def _scheduled(pid: int) -> tuple[int, int]:
    """Nanoseconds that the main thread ran, and waited for a core while it could have run."""
    ran, queued, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()
    return int(ran), int(queued)


def _store(url: str, count: int) -> None:
    content, numbers = os.urandom(SMALL), iter(range(count))

    def work(connection: Connection) -> None:
        for number in numbers:
            head = f'Content-Disposition: attachment; filename="burst-{number}"\r\n'
            status, body = connection.request("POST", "/v1/files", content, head)
            if status != 202:
                raise RuntimeError(f"{status} {body[:300]!r}")

    in_threads(url, work, CONNECTIONS)


def _ask(up: Stack, question: str) -> str:
    command = [up.postgres.programs / "psql", "-qXAt", "-d", up.postgres.url("bench"), "-c", question]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
