"""Large uploads are hashed while they arrive, and finalized by the worker that did it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from common.ahead import AheadNews, ringing_channel
from common.db.models import Upload
from common.queue import Ring
from common.states import JobKind, JobState
from common.storage.base import SealedObject, SealPlan, SealWatch, Segment, UploadKey
from tests.contract.storage_parts import beginning
from tests.integration.worker.rig import CHUNK, TENANT, Body, Rig, new_upload, until
from worker.ahead import HashAhead

CONTENT = bytes(range(256)) * 20


@asynccontextmanager
async def listening(*rigs: Rig) -> AsyncIterator[None]:
    """Their workers hear what gateways tell."""
    tasks = [asyncio.create_task(ahead_of(rig).run(rig.parts.runner.run_here)) for rig in rigs]
    await until(lambda: _all_listen(rigs))
    yield
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def ahead_of(rig: Rig) -> HashAhead:
    assert rig.parts.ahead is not None
    return rig.parts.ahead


async def begun(rig: Rig) -> Upload:
    """An upload without any chunk, of which a gateway tells."""
    upload = new_upload(len(CONTENT))
    async with rig.database.transaction() as repository:
        await repository.uploads.insert(upload)
    await rig.storage.begin(*beginning(UploadKey(TENANT, upload.id), len(CONTENT)))
    await AheadNews(rig.redis, rig.settings.redis).tell(TENANT, upload.id)
    return upload


async def fill(rig: Rig, upload: Upload) -> None:
    for start in range(0, len(CONTENT), CHUNK):
        piece = CONTENT[start : start + CHUNK]
        await rig.storage.write(UploadKey(TENANT, upload.id), Segment(start, len(piece)), Body(piece))


async def taken(rig: Rig, upload: Upload) -> bool:
    return bool((await rig.redis.pubsub_numsub(ringing_channel(rig.settings.redis, upload.id)))[0][1])


async def finalized(rig: Rig, upload: Upload) -> str:
    """As a gateway finalizes a large upload: the ring goes to the worker that hashes it, if any."""
    job = await rig.finalize(upload, ring=False)
    await rig.context.bell.ring(Ring(job.id, JobKind.FINALIZE, job.epoch, ahead=upload.id))
    return job.id


async def waiting(rig: Rig) -> int:
    return int(await rig.redis.zcard(f"{rig.settings.redis.redis_queue_prefix}:queue:finalize"))


async def test_the_worker_that_hashed_an_upload_finalizes_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(rig):
        upload = await begun(rig)
        await until(lambda: taken(rig, upload))
        await fill(rig, upload)
        [hashing] = ahead_of(rig)._uploads.values()
        await until(lambda: _hashed(rig))
        plans: list[SealPlan] = []
        seal = rig.storage.seal

        async def seen(key: UploadKey, plan: SealPlan, watch: SealWatch) -> SealedObject:
            plans.append(plan)
            return await seal(key, plan, watch)

        monkeypatch.setattr(rig.storage, "seal", seen)
        job_id = await finalized(rig, upload)
        assert await waiting(rig) == 0
        await until(lambda: _succeeded(rig, job_id))
    assert [plan.prefix for plan in plans] == [hashing.prefix]
    file = await rig.file((await rig.job(job_id)).file_id or "")
    assert file.digests["sha-256"] == hashlib.sha256(CONTENT).hexdigest()


async def test_one_of_several_workers_takes_an_upload(rig: Rig) -> None:
    other = rig.second()
    async with listening(rig, other):
        upload = await begun(rig)
        await until(lambda: taken(rig, upload))
        await fill(rig, upload)
        await until(lambda: _is(len(ahead_of(rig)._uploads) + len(ahead_of(other)._uploads) == 1))
        await until(lambda: _hashed(rig, other))
        job_id = await finalized(rig, upload)
        await until(lambda: _succeeded(rig, job_id))


async def test_without_a_worker_that_has_it_the_ring_is_for_all(rig: Rig) -> None:
    upload = await rig.upload(CONTENT)
    job_id = await finalized(rig, upload)
    assert await waiting(rig) == 1
    await rig.run()
    assert (await rig.job(job_id)).state == JobState.SUCCEEDED


async def test_a_worker_that_stops_rings_for_all(rig: Rig) -> None:
    async with listening(rig):
        upload = await begun(rig)
        await until(lambda: taken(rig, upload))
        await fill(rig, upload)
        rig.parts.runner.stop()
        await finalized(rig, upload)
        await until(lambda: _is_waiting(rig))


async def test_an_upload_that_nobody_has_is_not_taken(rig: Rig) -> None:
    async with listening(rig):
        await AheadNews(rig.redis, rig.settings.redis).tell(TENANT, "01900000-0000-7000-8000-000000000001")
        upload = await begun(rig)
        await until(lambda: taken(rig, upload))  # heard after the other
        await until(lambda: _is(list(ahead_of(rig)._uploads) == [upload.id]))


async def test_an_upload_that_was_aborted_is_left(rig: Rig) -> None:
    async with listening(rig):
        upload = await begun(rig)
        await until(lambda: taken(rig, upload))
        await rig.storage.abort(UploadKey(TENANT, upload.id))
        await until(lambda: _is(not ahead_of(rig)._uploads))
        await until(lambda: _not_taken(rig, upload))


async def test_words_that_are_not_ours_stop_nobody_from_listening(rig: Rig) -> None:
    async with listening(rig):
        await rig.redis.publish(f"{rig.settings.redis.redis_queue_prefix}:arriving", b"\xff{")
        await rig.redis.publish(f"{rig.settings.redis.redis_queue_prefix}:arriving", b"[1]")
        upload = await begun(rig)
        await until(lambda: _told_again(rig, upload))


async def test_files_whose_receipts_are_believed_are_not_hashed_ahead(rig: Rig) -> None:
    storage = rig.settings.storage.model_copy(update={"verify": "receipts"})
    believing = Rig(replace(rig.settings, storage=storage), rig.database, rig.storage, rig.redis)
    assert believing.parts.ahead is None


async def _all_listen(rigs: Sequence[Rig]) -> bool:
    channel = f"{rigs[0].settings.redis.redis_queue_prefix}:arriving"
    return bool((await rigs[0].redis.pubsub_numsub(channel))[0][1] == len(rigs))


async def _is(value: bool) -> bool:
    return value


async def _succeeded(rig: Rig, job_id: str) -> bool:
    return (await rig.job(job_id)).state == JobState.SUCCEEDED


async def _is_waiting(rig: Rig) -> bool:
    return await waiting(rig) == 1


async def _not_taken(rig: Rig, upload: Upload) -> bool:
    return not await taken(rig, upload)


async def _hashed(*rigs: Rig) -> bool:
    prefixes = [each.prefix for rig in rigs for each in ahead_of(rig)._uploads.values()]
    return [prefix.length for prefix in prefixes if prefix is not None] == [len(CONTENT)]


async def _told_again(rig: Rig, upload: Upload) -> bool:
    await AheadNews(rig.redis, rig.settings.redis).tell(TENANT, upload.id)
    return await taken(rig, upload)
