"""Every file-system call of one upload is once the last one of its process, and once the one that fails."""

import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.faults.points.checks import Findings
from tests.faults.points.nursery import nursery
from tests.faults.points.scenarios import Bench, Scenario, prepare
from tests.faults.points.tracing import CALLS, Point, points, traced
from tests.fixtures.faults import FaultReport

AT_ONCE = 2
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
NAMES_OF_SCENARIOS = ("store", "seal", "damage", "append", "join", "small", "publish")
NAMES = {
    "kill": "SIGKILL at the n-th call",
    "EIO": "EIO at the n-th call",
    "ENOSPC": "ENOSPC at the n-th call",
    "lost": "the n-th write says it is done and is not",
}


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Bench]]:
    with ExitStack() as stack:
        yield [Bench(stack.enter_context(nursery()), tmp_path_factory.mktemp("bench")) for _ in range(AT_ONCE)]


@pytest.fixture(scope="module")
def scenarios(
    benches: list[Bench], tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path
) -> dict[str, Scenario]:
    return prepare(benches[0].nursery, tmp_path_factory.mktemp("scenarios"), migrated_sqlite)


@needs_strace
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES_OF_SCENARIOS)
def test_no_single_call_that_fails_or_is_the_last_one_costs_anything(
    benches: list[Bench], scenarios: dict[str, Scenario], name: str, faults: FaultReport
) -> None:
    scenario = scenarios[name]
    every = points({place: benches[0].count(scenario, place) for place in CALLS})

    found = run_all(benches, scenario, every if faults.full else spread(every))

    totals: dict[str, Findings] = defaultdict(Findings)
    for point, findings in found:
        totals[f"{NAMES[point.kind]}: {name}, {point.place}"].add(findings)
    for fault, total in totals.items():
        faults.note(total.row(fault))
    assert {str(point): findings.problems for point, findings in found if findings.problems} == {}
    assert len(every) >= 100


@needs_strace
def test_the_points_are_all_there_are(benches: list[Bench], scenarios: dict[str, Scenario]) -> None:
    """One call further than the last that was counted, the run passes clean."""
    storing = scenarios["store"]
    counted = benches[0].count(storing, "storage")

    past_the_end = traced(
        benches[0].nursery,
        storing.role,
        benches[0].begin(storing),
        "storage",
        Point("kill", "storage", "fdatasync", counted["fdatasync"] + 1),
    )

    assert counted["fdatasync"] > 0
    assert past_the_end.status == 0
    assert not past_the_end.struck


def test_a_short_write_is_continued(benches: list[Bench], scenarios: dict[str, Scenario], faults: FaultReport) -> None:
    total = Findings()
    for number in range(1, 7 if faults.full else 3):

        def run(folder: Path, number: int = number) -> bool:
            benches[0].nursery.run("store", folder, cut=number)
            return True

        total.add(benches[0].fault(scenarios["store"], run))

    faults.note(total.row("the n-th write is a short one"))
    assert total.problems == []


def run_all(benches: list[Bench], scenario: Scenario, chosen: Sequence[Point]) -> list[tuple[Point, Findings]]:
    """As many at a time as there are benches."""
    free: SimpleQueue[Bench] = SimpleQueue()
    for bench in benches:
        free.put(bench)

    def run(point: Point) -> tuple[Point, Findings]:
        bench = free.get()
        try:
            return point, bench.point(scenario, point)
        finally:
            free.put(bench)

    with ThreadPoolExecutor(len(benches)) as pool:
        return list(pool.map(run, chosen))


def spread(every: Sequence[Point]) -> list[Point]:
    """The middle one of each kind of fault in each place."""
    groups: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in every:
        groups[point.kind, point.place].append(point)
    return [group[len(group) // 2] for group in groups.values()]
