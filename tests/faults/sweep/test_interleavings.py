"""Random interleavings of everything that makes and removes bytes and rows, with processes that die at any step and
clocks that jump: nothing live is ever removed, and at the end nothing orphaned is left, both ways."""

import time
from pathlib import Path
from random import Random

import pytest

from common.settings import Settings
from tests.faults.sweep.world import World
from tests.fixtures.faults import FaultReport, FaultRow
from tests.integration.worker.conftest import settings as plain_settings
from tests.integration.worker.rig import Rig, close_rig, open_rig, with_settings

__all__ = ["plain_settings"]

STORIES = {"short": 14, "full": 60}
STEPS = {"short": 40, "full": 80}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_interleaving_removes_what_lives_or_leaves_what_does_not(
    plain_settings: Settings, tmp_path: Path, faults: FaultReport
) -> None:
    row = FaultRow("random interleavings of create, chunk, abort, finalize, expiry, sweep, fsck")
    patient = with_settings(plain_settings, max_attempts=1000)
    rig = await open_rig(patient)
    try:
        for seed in range(STORIES[faults.form]):
            try:
                await tell(rig, tmp_path / "storage", seed, STEPS[faults.form], row)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise
    finally:
        await close_rig(rig)
    faults.note(row)


async def tell(rig: Rig, root: Path, seed: int, steps: int, row: FaultRow) -> None:
    """One story; the next one goes on with what this one left, which belongs to nobody any more."""
    world = World(rig, root, Random(seed))
    for _ in range(steps):
        await world.step()
        chunks, files = await world.check()
        row.chunks_checked += chunks
        row.files_checked += files
    began = time.monotonic()
    await world.settle()
    await world.check_nothing_is_left()
    row.points += world.crashes
    row.longest_recovery = max(row.longest_recovery or 0.0, time.monotonic() - began)
