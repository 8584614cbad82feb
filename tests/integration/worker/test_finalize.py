"""Finalize: an upload becomes a file once, whole, or not at all."""

import asyncio
import hashlib

import pytest
from sqlalchemy import select

from common.db.models import File, FileTag, Job
from common.states import JobKind, JobState, UploadState
from common.storage.base import ObjectKey, UploadKey
from tests.integration.worker.conftest import FlipByte, SendChunk
from tests.integration.worker.rig import TENANT, Rig, until

CONTENT = bytes(range(256)) * 10


async def rows(rig: Rig, table: type) -> int:
    async with rig.database.reading() as repository:
        return len((await repository.session.scalars(select(table))).all())


async def stored(rig: Rig, file: File) -> bytes:
    pieces = await rig.storage.read(ObjectKey(file.tenant, file.id), 0, file.size)
    return b"".join([piece async for piece in pieces])


async def test_an_upload_becomes_a_file_with_all_that_was_said_about_it(rig: Rig) -> None:
    upload = await rig.upload(CONTENT, filename="b.bin", content_type="image/x-own", description="mine")
    job = await rig.finalize(upload)

    await rig.run()

    ended, done = await rig.job(job.id), await rig.get_upload(upload.id)
    assert (ended.state, ended.attempts, done.state) == (JobState.SUCCEEDED, 1, UploadState.COMPLETE)
    assert done.file_id == ended.file_id
    assert done.finished_at is not None
    file = await rig.file(done.file_id or "")
    assert (file.filename, file.content_type, file.description) == ("b.bin", "image/x-own", "mine")
    assert (file.meta, file.tags, file.verified) == ({"from": "test"}, {"colour": "red"}, "read")
    assert file.digests["sha-256"] == hashlib.sha256(CONTENT).hexdigest()
    assert await stored(rig, file) == CONTENT
    assert await rows(rig, FileTag) == 1


async def test_an_empty_file_is_a_file(rig: Rig) -> None:
    file = await rig.published(b"")
    assert (file.size, file.digests["sha-256"]) == (0, hashlib.sha256(b"").hexdigest())
    await rig.run()
    assert {job.state for job in await rig.jobs()} == {JobState.SUCCEEDED}


async def test_a_type_that_nobody_declared_is_bytes(rig: Rig) -> None:
    assert (await rig.published(CONTENT)).content_type == "application/octet-stream"


async def test_the_metadata_job_follows_with_the_same_request_id(rig: Rig) -> None:
    file = await rig.published(CONTENT)
    [job] = await rig.jobs(JobKind.METADATA)
    assert (job.state, job.file_id, job.request_id, job.size) == (JobState.QUEUED, file.id, "req-1", len(CONTENT))


async def test_nothing_of_the_upload_is_left_in_the_storage(rig: Rig) -> None:
    upload = await rig.upload(CONTENT)
    await rig.finalize(upload)
    await rig.run()
    assert (await rig.get_upload(upload.id)).cleaned
    with pytest.raises(FileNotFoundError):
        await rig.storage.receipts(UploadKey(TENANT, upload.id))


async def test_many_rings_and_workers_publish_once(rig: Rig) -> None:
    upload = await rig.upload(CONTENT)
    job = await rig.finalize(upload)
    other = rig.second()

    await asyncio.gather(*(worker.parts.runner.run_job({}, job.id, 0) for worker in [rig, other] * 4))

    assert await rows(rig, File) == 1
    assert [job.kind for job in await rig.jobs()].count(JobKind.METADATA) == 1
    assert (await rig.job(job.id)).attempts == 1


async def test_a_late_ring_of_an_ended_job_does_nothing(rig: Rig) -> None:
    upload = await rig.upload(CONTENT)
    job = await rig.finalize(upload)
    await rig.run()
    await rig.ring(job)

    await rig.run()

    assert (await rig.job(job.id)).attempts == 1
    assert await rows(rig, Job) == 2


async def test_a_damaged_chunk_reopens_the_upload_for_that_chunk_only(rig: Rig, flip_byte: FlipByte) -> None:
    upload = await rig.upload(CONTENT)
    flip_byte(upload.id, 1500)
    job = await rig.finalize(upload)

    await rig.run()

    failed, reopened = await rig.job(job.id), await rig.get_upload(upload.id)
    assert (failed.state, failed.error_code) == (JobState.FAILED, "chunks_damaged")
    assert failed.error_extras == {"chunks": [1], "ranges": [[1, 1]]}
    assert (reopened.state, reopened.round, reopened.job_id) == (UploadState.OPEN, 1, None)
    kept = await rig.storage.receipts(UploadKey(TENANT, upload.id))
    assert [receipt.offset for receipt in kept] == [0, 2000]


async def test_a_reopened_upload_is_finished_by_the_chunk_and_another_finalize(
    rig: Rig, flip_byte: FlipByte, send_chunk: SendChunk
) -> None:
    upload = await rig.upload(CONTENT)
    flip_byte(upload.id, 1500)
    await rig.finalize(upload)
    await rig.run()

    await send_chunk(upload.id, 1000, CONTENT[1000:2000])
    again = await rig.finalize(upload)
    await rig.run()

    assert (await rig.job(again.id)).state == JobState.SUCCEEDED
    assert (await rig.get_upload(upload.id)).state == UploadState.COMPLETE


async def test_a_file_that_is_not_the_declared_one_fails_for_good(rig: Rig) -> None:
    upload = await rig.upload(CONTENT, digests={"sha-256": hashlib.sha256(b"other").hexdigest()})
    job = await rig.finalize(upload)

    await rig.run()

    failed = await rig.job(job.id)
    assert (failed.state, failed.error_code, failed.attempts) == (JobState.FAILED, "file_digest_mismatch", 1)
    assert (await rig.get_upload(upload.id)).state == UploadState.FAILED
    assert await rows(rig, File) == 0


async def test_an_upload_whose_bytes_are_gone_fails_for_good(rig: Rig) -> None:
    upload = await rig.upload(CONTENT)
    await rig.storage.abort(UploadKey(TENANT, upload.id))
    job = await rig.finalize(upload)

    await rig.run()

    assert (await rig.job(job.id)).error_code == "upload_gone"
    assert (await rig.get_upload(upload.id)).state == UploadState.FAILED


async def test_waiting_clients_are_told_of_the_end(rig: Rig) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listening = asyncio.create_task(rig.context.signals.listen(heard.put_nowait))

    async def is_listening() -> bool:
        return bool(await rig.redis.pubsub_numsub("sluice:ended") == [(b"sluice:ended", 1)])

    await until(is_listening)
    upload = await rig.upload(CONTENT)
    job = await rig.finalize(upload)

    await rig.run()

    assert await asyncio.wait_for(heard.get(), 5) == job.id
    listening.cancel()
    await asyncio.wait([listening])
