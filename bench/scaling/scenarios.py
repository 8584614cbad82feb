"""What is simulated: bursts and a step on workers over S3, as deploy/k8s runs them, and with one thing changed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from bench.scaling.model import GB, Costs, Plant
from bench.scaling.simulation import Fleet, Item, Outcome, Scaling, Simulation
from common.chunking import GIB
from common.queue import MOST_IN_GROUP

SEED = 20261120
SMALL = 65536
SHIPPED = Scaling()


@dataclass(frozen=True)
class Scenario:
    """A load, made anew for each run."""

    name: str
    items: Callable[[Costs], Iterator[Item]]


def group_of(costs: Costs) -> int:
    """Small files behind one ring, as measured: each file has two jobs, and a ring is one ZADD."""
    return max(1, min(MOST_IN_GROUP, round(2 / costs.small["redis.zadd"])))


def small_burst(costs: Costs, files: int = 20_000, seconds: float = 10.0) -> Iterator[Item]:
    """Files of 64 KiB, evenly over the seconds, in groups."""
    group, wait = group_of(costs), Plant().store_wait
    for first in range(0, files, group):
        count = min(group, files - first)
        yield Item(first / files * seconds, costs.small["cpu.worker"] * count, wait, count)


def large_burst(costs: Costs, files: int = 300, seconds: float = 60.0) -> Iterator[Item]:
    """Files of 1 GiB whose last chunks arrive within the seconds."""
    for number in range(files):
        yield _large(costs, number / files * seconds)


def step(costs: Costs, low: float = 1 * GB, high: float = 8 * GB, until: float = 900.0) -> Iterator[Item]:
    """Files of 1 GiB at `low` bytes per second for five minutes, then at `high`, at random moments."""
    chance, when = random.Random(SEED), 0.0
    while when < until:
        when += chance.expovariate((high if when > 300 else low) / GIB)
        yield _large(costs, when)


def _large(costs: Costs, when: float) -> Item:
    return Item(when, costs.of_file(GIB)["cpu.worker"], 2 * Plant().store_wait)


SCENARIOS = (
    Scenario("burst of 20,000 files of 64 KiB in 10 s", small_burst),
    Scenario("burst of 300 files of 1 GiB in 60 s", large_burst),
    Scenario("step from 1 to 8 GB/s of 1 GiB files", step),
)

FLEETS = {
    "as in deploy/k8s": Fleet(scaling=SHIPPED),
    "KEDA metrics cached for 30 s": Fleet(scaling=replace(SHIPPED, metric_age=30.0)),
    "a pod takes 60 s to start": Fleet(scaling=replace(SHIPPED, pod_start=60.0)),
    "2 slots and listLength 2": Fleet(slots=2, scaling=replace(SHIPPED, per_pod=2)),
    "up to 60 pods": Fleet(scaling=replace(SHIPPED, most=60)),
    "always 20 pods": Fleet(pods=20),
}


def simulate(scenario: Scenario, fleet: Fleet, costs: Costs) -> Outcome:
    """One run, the same every time."""
    return Simulation(fleet, scenario.items(costs)).run()


def predicted_drain(cpu_of_file: float, files: int, rings: int) -> float:
    """Seconds that one worker with 8 slots needs for files that wait already, in so many rings."""
    per_ring, over = divmod(files, rings)
    groups = [per_ring + (number < over) for number in range(rings)]
    items = [Item(0.0, cpu_of_file * count, 0.0, count) for count in groups]
    return Simulation(Fleet(pods=1), items).run().ended
