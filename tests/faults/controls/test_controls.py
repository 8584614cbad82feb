"""The suite can fail: with one safeguard taken out of the processes, the same checks turn red.

One safeguard cannot be shown here: the sync of the folder in which a receipts journal or an upload begins. ext4 writes
the name of a new file together with its first fsync, so taking that sync out changes nothing there. What can be shown
is the sync after a rename, at publish, with a database that does not lie on the same file system: SQLite's own syncs
would take the rename along.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from tests.faults.controls.zombie import Where
from tests.faults.points.checks import Findings
from tests.faults.points.nursery import Nursery, nursery
from tests.faults.points.scenarios import Bench, Scenario, prepare
from tests.faults.points.tracing import POSITIONED, Point
from tests.faults.power.cuts import Moment, PowerCuts, power_cuts
from tests.faults.power.site import CHUNK_COUNT
from tests.fixtures.faults import FaultReport

ALL_ACKNOWLEDGED = Moment("chunk", CHUNK_COUNT)


@pytest.fixture(scope="module")
def children() -> Iterator[Nursery]:
    with nursery() as opened:
        yield opened


@pytest.fixture
def power(children: Nursery, tmp_path: Path, migrated_sqlite: Path, redis_server: str) -> PowerCuts:
    return power_cuts(children, tmp_path, migrated_sqlite, redis_server)


@pytest.fixture(scope="module")
def bench(children: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(children, tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def scenarios(bench: Bench, tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> dict[str, Scenario]:
    return prepare(bench.nursery, tmp_path_factory.mktemp("scenarios"), migrated_sqlite)


def test_without_the_sync_of_the_data_a_power_cut_alters_chunks(power: PowerCuts, faults: FaultReport) -> None:
    found = power.cut(ALL_ACKNOWLEDGED, without="data_sync").found

    note(faults, "data not synced, power cut", found)
    assert found.altered


def test_without_the_sync_of_folders_a_power_cut_loses_a_ready_file(power: PowerCuts, faults: FaultReport) -> None:
    found = power.cut(Moment("published"), database_aside=True, without="folder_sync").found

    note(faults, "folders not synced, power cut", found)
    assert found.lost


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_with_the_receipt_before_the_data_a_kill_leaves_a_receipt_that_lies(
    bench: Bench, scenarios: dict[str, Scenario], faults: FaultReport
) -> None:
    made = bench.count(scenarios["store"], "storage")
    call = next(name for name in POSITIONED if made[name])

    found = bench.point(scenarios["store"], Point("kill", "storage", call, 1), without="receipt_after_data")

    note(faults, "receipt before data, SIGKILL", found)
    assert found.altered


@pytest.mark.parametrize("where", get_args(Where))
def test_a_zombie_is_refused_by_the_fence(
    bench: Bench, scenarios: dict[str, Scenario], where: Where, faults: FaultReport
) -> None:
    found = zombie(bench, scenarios["seal"], where)

    faults.note(found.row(f"a zombie worker, {where.replace('_', ' ')}"))
    assert found.problems == []


@pytest.mark.parametrize("where", get_args(Where))
def test_without_the_fence_a_zombie_ends_a_job_that_is_not_its_own(
    bench: Bench, scenarios: dict[str, Scenario], where: Where, faults: FaultReport
) -> None:
    found = zombie(bench, scenarios["seal"], where, without="fence")

    note(faults, f"no fence, zombie {where.replace('_', ' ')}", found)
    assert "the job is another one after the zombie" in found.wrong
    assert "the refusal is not counted" in found.wrong


def zombie(bench: Bench, stored: Scenario, where: Where, **arguments: str) -> Findings:
    """Two workers over one finalize job, the first of which comes back late; what is wrong afterwards."""
    found = Findings(points=1)
    folder = bench.begin(stored)
    bench.nursery.run("zombie", folder, where=where, **arguments)
    seen = json.loads((folder / "zombie.json").read_text())
    if seen["after"] != seen["between"]:
        found.wrong.append("the job is another one after the zombie")
    if seen["refused"] != 1:
        found.wrong.append("the refusal is not counted")
    if seen["after"]["state"] == "failed":
        found.stuck.append("the job of a ready file is failed")
    found.add(bench.end(folder))
    return found


def note(faults: FaultReport, name: str, found: Findings) -> None:
    """Such a row has to be red; its name says so."""
    assert found.problems
    faults.note(found.row(f"must be red: {name}"))
