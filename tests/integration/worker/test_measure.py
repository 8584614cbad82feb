"""What a worker measures for the whole service, and what it counts of its own jobs."""

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any, cast

import pytest

from common.errors import ChunksDamaged, DatabaseUnavailable, StorageUnavailable
from common.states import JobKind, UploadState
from common.storage import Storage
from common.storage.base import SealedObject, SealPlan, SealWatch, UploadKey
from tests.integration.worker.rig import Rig, with_settings
from tests.integration.worker.test_fsck import set_upload

CONTENT = b"y" * 1500


class DamagedStorage:
    """The real storage, but every seal finds damage."""

    def __init__(self, real: Storage) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def seal(self, upload: UploadKey, plan: SealPlan, watch: SealWatch) -> SealedObject:
        raise ChunksDamaged("Chunk 1 is damaged.", chunks=[1])


async def test_the_longest_wait_is_measured_for_each_kind(rig: Rig) -> None:
    job = await rig.finalize(await rig.upload(CONTENT))
    await rig.shift(job.id, -30, "next_attempt_at")
    await rig.parts.sweep.measure()
    assert 29 < rig.counted("oldest_queued_seconds", kind=JobKind.FINALIZE) < 60
    assert rig.counted("oldest_queued_seconds", kind=JobKind.METADATA) == 0


async def test_the_time_since_acceptance_is_measured_also_while_a_job_runs(rig: Rig) -> None:
    job = await rig.finalize(await rig.upload(CONTENT))
    await rig.shift(job.id, -30, "created_at")
    assert await rig.parts.leases.claim([job.id])
    await rig.parts.sweep.once()
    assert 29 < rig.counted("oldest_unfinished_seconds", kind=JobKind.FINALIZE) < 60
    assert rig.counted("oldest_queued_seconds", kind=JobKind.FINALIZE) == 0


async def test_what_waits_is_measured(rig: Rig) -> None:
    await rig.upload(CONTENT)
    due, later = [await rig.finalize(await rig.upload(CONTENT)) for _ in range(2)]
    await rig.shift(later.id, 3600, "next_attempt_at")
    await rig.parts.sweep.once()
    assert rig.counted("jobs_queued", kind=due.kind, due="now") == 1
    assert rig.counted("jobs_queued", kind=due.kind, due="later") == 1
    assert rig.counted("uploads_unfinished", state="open") == 1
    assert rig.counted("uploads_unfinished", state="finalizing") == 2


async def test_what_was_counted_is_forgotten_while_others_sweep(rig: Rig) -> None:
    swift = Rig(with_settings(rig.settings, sweep_seconds=0.01), rig.database, rig.storage, rig.redis)
    await rig.upload(CONTENT)
    await swift.parts.sweep.once()
    assert swift.counted("uploads_unfinished", state="open") == 1
    await asyncio.sleep(0.03)  # three passes of others
    await swift.parts.sweep.measure()
    assert swift.metrics.registry.get_sample_value("sluice_uploads_unfinished", {"state": "open"}) is None
    assert swift.metrics.registry.get_sample_value("sluice_oldest_queued_seconds", {"kind": "finalize"}) == 0


async def test_a_backlog_that_cannot_be_counted_is_no_failure_of_the_sweep(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_long(*_: object) -> None:
        raise DatabaseUnavailable("The database does not answer; send the request again later.")

    monkeypatch.setattr("worker.sweep.count_backlog", too_long)
    await rig.upload(CONTENT)
    await rig.parts.sweep.once()
    assert rig.counted("last_sweep_timestamp_seconds", part="jobs") > 0


async def test_the_room_that_is_left_is_measured(rig: Rig, tmp_path: Path) -> None:
    await rig.upload(CONTENT)
    await rig.parts.sweep.measure()
    assert rig.counted("storage_free_bytes", backend="local") == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.2
    )


@pytest.mark.parametrize("part", ["jobs", "storage"])
async def test_a_sweep_that_goes_well_notes_when(rig: Rig, part: str) -> None:
    await rig.upload(CONTENT)
    before = time.time()
    await rig.parts.sweep.once()
    assert rig.counted("last_sweep_timestamp_seconds", part=part) >= before


async def test_a_sweep_with_a_step_that_fails_does_not_count(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> int:
        raise StorageUnavailable("The disk is away.")

    monkeypatch.setattr(rig.storage, "free_bytes", broken)
    await rig.parts.sweep.once()
    assert rig.counted("last_sweep_timestamp_seconds", part="jobs") == 0
    assert rig.counted("last_sweep_timestamp_seconds", part="storage") > 0


async def test_a_sweep_that_can_remove_nothing_does_not_count(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: UploadKey) -> None:
        raise StorageUnavailable("The disk is away.")

    await set_upload(rig, await rig.upload(CONTENT), state=UploadState.ABORTED)
    monkeypatch.setattr(rig.storage, "abort", broken)
    await rig.parts.sweep.once()
    assert rig.counted("last_sweep_timestamp_seconds", part="storage") == 0


async def test_a_job_that_fails_for_good_is_counted_by_its_code(rig: Rig) -> None:
    damaged = rig.second(cast("Storage", DamagedStorage(rig.storage)))
    await rig.finalize(await rig.upload(CONTENT))
    await damaged.run()
    assert damaged.counted("jobs_failed_total", kind=JobKind.FINALIZE, code="chunks_damaged") == 1


async def test_a_dead_letter_counts_as_a_failed_job(rig: Rig) -> None:
    once = Rig(with_settings(rig.settings, max_attempts=1), rig.database, rig.storage, rig.redis)
    job = await rig.finalize(await rig.upload(CONTENT), ring=False)
    assert await rig.parts.leases.claim([job.id])
    await rig.shift(job.id, -1, "lease_until")
    await once.parts.sweep.take_back_lost()
    assert once.counted("jobs_failed_total", kind=JobKind.FINALIZE, code="attempts_exhausted") == 1


async def test_the_turnaround_counts_from_acceptance(rig: Rig) -> None:
    job = await rig.finalize(await rig.upload(CONTENT))
    await rig.shift(job.id, -30, "created_at")
    await rig.run()
    assert 30 <= rig.counted("job_turnaround_seconds_sum", kind=JobKind.FINALIZE) < 60
    assert rig.counted("job_turnaround_seconds_count", kind=JobKind.METADATA) == 1
