"""`python -m bench.scaling.measure [--rounds 2] [--small 300]`: measure and write costs.json.

Large uploads come in three shapes, so that the cost of an upload, of a chunk and of a MiB can be told apart; what an
idle stack does in the same time is taken off. The client is the SDK over 4 connections without digests of its own.
Counts are medians of the rounds; CPU seconds come with their least and most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from redis import Redis

from bench.scaling.counters import Reading, await_idle, difference, read
from bench.scaling.drain import drain
from bench.scaling.shapes import FEW, MANY, SHORT, Shape, solve
from bench.scaling.stack import ROOT, Stack, stack
from bench.workloads import MIB, small_files
from client import AsyncClient, UploadOptions

COSTS = Path(__file__).with_name("costs.json")
IDLE_SECONDS = 12.0  # the sweep comes every 5 s
STEADY = ("cpu.", "sql.", "redis.", "bytes.redis.")  # counters that also grow in an idle stack
DRAINS = 5
LOOKS = 500  # looks at a queue of each length


WAYS: dict[str, tuple[bool, bool, dict[str, str]]] = {  # name -> over S3, direct, settings
    "local": (False, False, {}),
    "s3": (True, False, {}),
    "s3-direct": (True, True, {}),
    "s3-direct-receipts": (True, True, {"SLUICE_VERIFY": "receipts"}),
}


def main() -> None:
    """Measure one stack after the other; the file is written after each, so that a run may be cut short."""
    given = _arguments()
    costs: dict[str, Any] = {"about": _about(given), "large": {}, "small": {}, "idle": {}}
    if given.only and COSTS.exists():
        costs = {**json.loads(COSTS.read_text()), "about": _about(given)}
    for what, measure in MEASURES.items():
        if what in (given.only or MEASURES):
            print(f"measuring: {what}", flush=True)
            measure(costs, given)
            COSTS.write_text(json.dumps(costs, indent=1) + "\n")
    print(f"written: {COSTS.relative_to(ROOT)}")


def _way(way: str, costs: dict[str, Any], given: argparse.Namespace) -> None:
    s3, direct, settings = WAYS[way]
    with _fresh(given, s3=s3, **settings) as up:
        idle = _idle(up)
        costs["idle"][way] = idle
        costs["large"][way] = large(up, idle, given.rounds, direct=direct)
        if not direct:
            costs["small"][way] = small(up, idle, given.rounds, given.small)
            costs["small"][f"{way}, 64 connections"] = small(up, idle, given.rounds, given.small, 64)


def _three_workers(costs: dict[str, Any], given: argparse.Namespace) -> None:
    with _fresh(given, s3=False, workers=3) as up:
        costs["small"]["local, 3 workers"] = small(up, _idle(up), given.rounds, given.small)
        costs["look"] = look_seconds(up)


def _drains(costs: dict[str, Any], given: argparse.Namespace) -> None:
    with _fresh(given, s3=False) as up:
        drain(up, 50)  # opens connections, fills caches
        costs["drain"] = [drain(up, given.small) for _ in range(DRAINS)]


MEASURES: dict[str, Callable[[dict[str, Any], argparse.Namespace], None]] = {
    **{way: partial(_way, way) for way in WAYS},
    "three-workers": _three_workers,
    "drain": _drains,
}


@contextmanager
def _fresh(given: argparse.Namespace, *, s3: bool, workers: int = 1, **settings: str) -> Iterator[Stack]:
    """A stack in a folder of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="scaling-", dir=given.folder) as name,
        stack(Path(name), s3=s3, workers=workers, **settings) as up,
    ):
        yield up


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling.measure")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of every shape; medians are kept")
    parser.add_argument("--small", type=int, default=300, help="number of 64 KiB files in a round")
    parser.add_argument("--only", nargs="*", choices=list(MEASURES), help="these stacks; the rest stays as it was")
    parser.add_argument("--folder", default=None, help="where the data goes: names the file system to measure")
    return parser.parse_args()


def _about(given: argparse.Namespace) -> dict[str, object]:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {
        "date": date.today().isoformat(),  # noqa: DTZ011 - the day of the person who measures
        "commit": commit.stdout.strip(),
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "rounds": given.rounds,
        "small_files": given.small,
    }


def _idle(up: Stack) -> Reading:
    """What each counter grows by in a second when nobody does anything."""
    before = read(up)
    time.sleep(IDLE_SECONDS)
    grown = difference(read(up), before)
    return {name: value / grown["clock"] for name, value in grown.items() if name.startswith(STEADY) and value > 0}


def _between(up: Stack, before: Reading, idle: Mapping[str, float]) -> Reading:
    await_idle(up)
    grown = difference(read(up), before)
    return {name: max(0.0, value - idle.get(name, 0.0) * grown["clock"]) for name, value in grown.items()}


def large(up: Stack, idle: Reading, rounds: int, *, direct: bool) -> dict[str, object]:
    """Cost of an upload, a chunk and a MiB: counters by name, and the spread of the CPU seconds."""
    _upload(up, Shape(1, 10, 5), direct)  # opens connections, fills caches
    await_idle(up)
    solved = []
    for _ in range(rounds):
        readings = []
        for shape in (MANY, FEW, SHORT):
            before = read(up)
            _upload(up, shape, direct)
            grown = _between(up, before, idle)
            readings.append({name: value / shape.uploads for name, value in grown.items()})
        solved.append(solve(*readings))
    parts = {part: _medians([one[part] for one in solved]) for part in ("upload", "chunk", "mib")}
    return {**parts, "spread": {part: _spread([one[part] for one in solved]) for part in parts}}


def small(up: Stack, idle: Reading, rounds: int, count: int, connections: int = 16) -> dict[str, object]:
    """Cost of a file of 64 KiB, one request over one of the connections each."""
    small_files(up.url, 2 * connections, connections)
    await_idle(up)
    found = []
    for _ in range(rounds):
        before = read(up)
        small_files(up.url, count, connections)
        found.append({name: value / count for name, value in _between(up, before, idle).items() if name != "clock"})
    return {"file": _medians(found), "spread": _spread(found)}


def look_seconds(up: Stack) -> dict[str, float]:
    """CPU seconds of Redis for one look at a queue, by the number of ids in it: what a ring costs for each worker."""
    found = {}
    with Redis.from_url(up.redis_url) as redis:
        for length in (1, 100, 1000):
            ids = {f"{number:032x}:0": number for number in range(length)}
            redis.zadd("bench:queue", ids)
            keys = [f"arq:in-progress:{name}" for name in ids]
            before = redis.info("cpu")
            for _ in range(LOOKS):
                redis.zrangebyscore("bench:queue", "-inf", 2**40, start=0, num=1000)
                for start in range(0, length, 100):
                    redis.mget(keys[start : start + 100])
            after = redis.info("cpu")
            used = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
            found[str(length)] = used / LOOKS
        redis.delete("bench:queue")
    return found


def _upload(up: Stack, shape: Shape, direct: bool) -> None:
    source = up.folder / "source.bin"
    if not source.exists() or source.stat().st_size != shape.mib * MIB:
        source.write_bytes(os.urandom(shape.mib * MIB))
    plain = UploadOptions(chunk_digests=False, file_digest=False, chunk_size=shape.chunk_mib * MIB, direct=direct)

    async def run() -> None:
        async with AsyncClient(up.url) as sluice:
            for _ in range(shape.uploads):
                await sluice.upload_file(source, plain)

    asyncio.run(run())


def _medians(readings: list[Reading]) -> Reading:
    names = sorted({name for reading in readings for name in reading})
    found = {name: median(reading.get(name, 0.0) for reading in readings) for name in names}
    return {name: float(f"{value:.4g}") for name, value in found.items() if value > 0}


def _spread(readings: list[Reading]) -> dict[str, list[float]]:
    """Least and most of the CPU seconds."""
    names = sorted(name for name in readings[0] if name.startswith("cpu."))
    values = {name: [reading[name] for reading in readings] for name in names}
    return {name: [float(f"{edge:.3g}") for edge in (min(all_of), max(all_of))] for name, all_of in values.items()}


if __name__ == "__main__":
    main()
