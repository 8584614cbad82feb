"""Power goes while an upload is under way: what was acknowledged is on the disk, and the rest goes on afterwards."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.faults.points.checks import Findings
from tests.faults.points.nursery import Nursery, nursery
from tests.faults.power.cuts import Moment, PowerCuts, power_cuts
from tests.faults.power.site import CHUNK_COUNT
from tests.faults.power.small import FILES, small_cut
from tests.fixtures.faults import FaultReport

SHORT = [Moment("chunk", 5), Moment("accepted", delay=0.01), Moment("published")]
LONGEST_RECOVERY = 30.0  # seconds; design, section 3


@pytest.fixture(scope="module")
def children() -> Iterator[Nursery]:
    with nursery() as opened:
        yield opened


@pytest.fixture
def power(children: Nursery, tmp_path: Path, migrated_sqlite: Path, redis_server: str) -> PowerCuts:
    return power_cuts(children, tmp_path, migrated_sqlite, redis_server)


def all_moments() -> list[Moment]:
    """30 of them: after each answer, while the worker seals, after the end, and anywhere."""
    chance = Random(5)
    answers = [Moment("created"), *(Moment("chunk", count) for count in range(1, CHUNK_COUNT + 1)), Moment("accepted")]
    sealing = [Moment("accepted", delay=0.005 * step) for step in range(1, 7)]
    ends = [Moment("published"), Moment("published", delay=0.02)]
    anywhere = [Moment("created", delay=chance.uniform(0, 0.3)) for _ in range(8)]
    return answers + sealing + ends + anywhere


@pytest.mark.timeout(900)
def test_a_power_cut_takes_nothing_that_was_acknowledged(power: PowerCuts, faults: FaultReport) -> None:
    moments = all_moments() if faults.full else SHORT

    outcomes = [(moment, power.cut(moment)) for moment in moments]

    total = Findings()
    for _, outcome in outcomes:
        total.add(outcome.found)
    longest = max(outcome.recovery for _, outcome in outcomes)
    faults.note(total.row("power cut on ext4 (database and storage)", longest))
    assert {str(moment): outcome.found.problems for moment, outcome in outcomes if outcome.found.problems} == {}
    assert longest < LONGEST_RECOVERY


def test_a_storage_that_loses_power_alone_has_every_file_that_the_database_knows(
    power: PowerCuts, faults: FaultReport
) -> None:
    """Nothing that the database syncs takes the names of the storage along here: they have to be synced themselves."""
    total = Findings()
    for count in range(5 if faults.full else 1):
        total.add(power.cut(Moment("published", delay=0.004 * count), database_aside=True).found)

    faults.note(total.row("power cut on ext4 (storage alone)"))
    assert total.problems == []


@pytest.mark.timeout(900)
def test_small_files_that_were_acknowledged_are_ready_after_a_power_cut(power: PowerCuts, faults: FaultReport) -> None:
    total, longest = Findings(), 0.0
    for count in range(1, FILES + 1, 4) if faults.full else (FILES // 2,):
        outcome = small_cut(power, Moment("accepted", count))
        total.add(outcome.found)
        longest = max(longest, outcome.recovery)

    faults.note(total.row("power cut on ext4 (small files, database and storage)", longest))
    assert total.problems == []
    assert total.files_checked >= total.points
    assert longest < LONGEST_RECOVERY
