"""The simulation against queueing theory and against cases done by hand."""

import math
import random
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml

from bench.scaling.simulation import Fleet, Item, Outcome, Scaling, Simulation, desired

SERVERS, RATE, SERVICE = 4, 2.6, 1.0  # 65 % busy


def mean_wait(servers: int, rate: float, service: float) -> float:
    """Erlang C."""
    offered = rate * service
    terms = sum(offered**k / math.factorial(k) for k in range(servers))
    last = offered**servers / math.factorial(servers) / (1 - offered / servers)
    return last / (terms + last) / (servers / service - rate)


@pytest.fixture(scope="module")
def scaled_object() -> Any:
    root = Path(__file__).resolve().parents[3]
    return yaml.safe_load((root / "deploy/k8s/components/autoscale-workers/finalize.yaml").read_text())["spec"]


def random_run(seed: int, count: int = 5000) -> tuple[Outcome, int]:
    """M/M/c: one slot and one core for each pod."""
    chance, when, items = random.Random(seed), 0.0, []
    for _ in range(count):
        when += chance.expovariate(RATE)
        items.append(Item(when, chance.expovariate(1 / SERVICE)))
    return Simulation(Fleet(pods=SERVERS, slots=1), items).run(), count


@pytest.fixture(scope="module")
def runs() -> list[tuple[Outcome, int]]:
    return [random_run(seed) for seed in range(12)]


def test_the_mean_wait_is_that_of_erlang_c(runs: list[tuple[Outcome, int]]) -> None:
    means = [fmean(outcome.waits) for outcome, _ in runs]
    margin = 3.5 * stdev(means) / math.sqrt(len(means))
    assert margin < 0.15 * mean_wait(SERVERS, RATE, SERVICE), "too few runs to say anything"
    assert fmean(means) == pytest.approx(mean_wait(SERVERS, RATE, SERVICE), abs=margin)


def test_items_in_the_system_are_rate_times_time_spent(runs: list[tuple[Outcome, int]]) -> None:
    for outcome, count in runs:
        spent = fmean(seconds for seconds, _ in outcome.times)
        assert outcome.area / outcome.ended == pytest.approx(count / outcome.ended * spent)


def test_slots_of_a_pod_share_its_cores() -> None:
    outcome = Simulation(Fleet(pods=1, slots=8, cores=2), [Item(0, 1.0)] * 8).run()
    assert outcome.ended == 4.0


def test_waiting_for_others_needs_no_core() -> None:
    outcome = Simulation(Fleet(pods=1, slots=8, cores=1), [Item(0, 0.0, wait=1.0)] * 8).run()
    assert outcome.ended == 1.0


def test_the_read_limit_bounds_the_whole_fleet() -> None:
    outcome = Simulation(Fleet(pods=10, slots=8, read_limit=20), [Item(0, 0.0, wait=1.0)] * 60).run()
    assert outcome.ended == 3.0


def test_percentiles_count_files_not_rings() -> None:
    outcome = Outcome(times=[(1.0, 98), (5.0, 1), (9.0, 1)])
    assert [outcome.percentile(part) for part in (0.5, 0.99, 1.0)] == [1.0, 5.0, 9.0]


@pytest.mark.parametrize(("items", "have", "pods"), [(0, 2, 2), (17, 2, 2), (18, 2, 3), (1000, 4, 20), (24, 20, 3)])
def test_the_autoscaler_wants_items_by_target_within_its_bounds(items: int, have: int, pods: int) -> None:
    assert desired(Scaling(least=2, most=20, per_pod=8), items, have) == pods


def test_a_pod_serves_after_look_and_start() -> None:
    fleet = Fleet(slots=1, scaling=Scaling(least=1, most=2, per_pod=1, look_every=15, pod_start=20))
    outcome = Simulation(fleet, [Item(0.0, 100.0), Item(0.0, 1.0)]).run()
    assert outcome.waits == [0.0, 35.0]


def test_growth_is_bounded_in_each_look() -> None:
    fleet = Fleet(slots=1, scaling=Scaling(least=1, most=50, per_pod=1, pod_start=0.0, up_pods=4))
    outcome = Simulation(fleet, [Item(0.0, 40.0)] * 50).run()
    assert [max(pods for when, *_, pods in outcome.trace if when <= end) for end in (15, 30)] == [5, 10]


def test_pods_stay_for_the_stabilisation_window() -> None:
    scaling = Scaling(least=1, most=4, per_pod=1, pod_start=0.0, stabilise=300.0)
    items = [Item(0.0, 20.0)] * 4 + [Item(700.0, 1.0)]
    trace = Simulation(Fleet(slots=1, scaling=scaling), items).run().trace
    first_less = next(when for when, *_, pods in trace if when > 60 and pods < 4)
    assert 315 <= first_less <= 345


def test_a_pod_that_leaves_ends_what_it_runs() -> None:
    scaling = Scaling(least=1, most=4, per_pod=1, pod_start=0.0, stabilise=0.0, down_part=1.0)
    items = [Item(0.0, 200.0)] * 2 + [Item(0.0, 20.0)] * 2
    outcome = Simulation(Fleet(slots=1, scaling=scaling), items).run()
    assert sorted(seconds for seconds, _ in outcome.times)[-2:] == pytest.approx([200.0, 215.0])


def test_a_metric_that_is_kept_is_seen_late() -> None:
    fleet = Fleet(slots=1, scaling=Scaling(least=1, most=2, per_pod=1, pod_start=0.0))
    late = replace(fleet, scaling=replace(fleet.scaling, metric_age=30.0) if fleet.scaling else None)
    items = [Item(1.0, 100.0), Item(1.0, 1.0)]
    starts = [Simulation(one, items).run().waits[1] for one in (fleet, late)]
    assert starts == [14.0, 44.0]


def test_the_simulated_autoscaler_is_the_one_in_the_manifests(scaled_object: Any) -> None:
    shipped = Scaling()
    behaviour = scaled_object["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    percent, pods = behaviour["scaleUp"]["policies"]
    assert (scaled_object["minReplicaCount"], scaled_object["maxReplicaCount"]) == (shipped.least, shipped.most)
    assert int(scaled_object["triggers"][0]["metadata"]["listLength"]) == shipped.per_pod
    assert (1 + percent["value"] / 100, pods["value"]) == (shipped.up_factor, shipped.up_pods)
    assert behaviour["scaleDown"]["stabilizationWindowSeconds"] == shipped.stabilise
    assert behaviour["scaleDown"]["policies"] == [
        {"type": "Percent", "value": shipped.down_part * 100, "periodSeconds": shipped.down_every}
    ]


def test_the_same_items_give_the_same_run() -> None:
    assert random_run(3, 500)[0] == random_run(3, 500)[0]
