"""Small files get their attributes with their finalize, where that can harm nobody."""

from dataclasses import replace

import pytest

from common.db.models import Job
from common.queue import GROUP_BYTES
from common.states import JobKind, JobState
from tests.integration.worker.rig import Rig
from worker.app import assemble
from worker.examine import Examiner

TABLE = b"a,b\n1,2\n3,4\n"


@pytest.fixture
def along(rig: Rig) -> Rig:
    """A worker for both kinds as it is in production."""
    return Rig(rig.settings, rig.database, rig.storage, rig.redis, describe_along=True)


async def metadata_job(rig: Rig) -> Job:
    [job] = await rig.jobs(JobKind.METADATA)
    return job


async def test_a_small_file_is_described_when_it_is_published(along: Rig) -> None:
    file = await along.published(TABLE, filename="t.csv")
    assert file.attributes is not None
    assert (file.attributes["line_count"], file.detected_type) == (3, file.attributes["detected_type"])
    job = await metadata_job(along)
    assert (job.state, job.attempts, job.file_id) == (JobState.SUCCEEDED, 1, file.id)
    assert None not in (job.started_at, job.finished_at)
    assert await along.redis.zcard(f"{along.settings.redis.redis_queue_prefix}:queue:metadata") == 0
    assert along.counted("jobs_total", kind="metadata", outcome="succeeded") == 1


async def test_files_with_and_without_attributes_are_published_together(along: Rig) -> None:
    small = await along.upload(TABLE)
    large = await along.upload(b"x" * (GROUP_BYTES + 1), chunk_size=GROUP_BYTES)
    jobs = [await along.finalize(upload, ring=False) for upload in (small, large)]
    await along.parts.runner.run_jobs({}, [job.id for job in jobs])
    described, waiting = [await along.file(job.file_id or "") for job in jobs]
    assert described.attributes is not None
    assert waiting.attributes is None
    await along.run()
    assert (await along.file(waiting.id)).attributes is not None


async def test_what_cannot_be_described_is_published_and_left_to_its_own_job(
    along: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("a file from hell")

    monkeypatch.setattr(Examiner, "attributes", broken)
    file = await along.published(TABLE)
    assert (file.attributes, (await metadata_job(along)).state) == (None, JobState.QUEUED)


async def test_a_second_attempt_does_not_risk_it_again(along: Rig) -> None:
    upload = await along.upload(TABLE)
    job = await along.finalize(upload, ring=False)
    lost = await along.parts.leases.claim([job.id])
    assert len(lost) == 1
    await along.shift(job.id, -1, "lease_until")
    await along.parts.sweep.take_back_lost()
    await along.parts.runner.run_job({}, job.id, 1)
    assert (await along.job(job.id)).state == JobState.SUCCEEDED
    assert (await metadata_job(along)).state == JobState.QUEUED


async def test_a_worker_for_finalize_alone_leaves_metadata_to_others(rig: Rig) -> None:
    parts = assemble(rig.context, [JobKind.FINALIZE], rig.redis, burst=True)
    only = replace(rig)
    only.parts = parts
    await only.published(TABLE)
    assert (await metadata_job(rig)).state == JobState.QUEUED
