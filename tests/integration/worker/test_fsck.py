"""fsck: orphans both ways are found and repaired, and nothing that lives is ever named."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from common.db.models import File, Job, Upload
from common.fsck import Finding, Fsck, Problem
from common.ids import new_id
from common.states import FileState, JobKind, JobState, UploadState
from common.storage.base import ObjectKey, SealPlan, SealWatch, Segment, UploadKey
from common.storage.local import LocalStorage
from tests.integration.worker.rig import TENANT, Body, Rig, new_upload

CONTENT = b"f" * 2500


def fsck(rig: Rig) -> Fsck:
    assert isinstance(rig.storage, LocalStorage)
    return Fsck(rig.database, rig.storage)


async def found(rig: Rig) -> list[Finding]:
    return [finding async for finding in fsck(rig).findings()]


async def repaired(rig: Rig) -> None:
    """Repair everything, twice: the second time it is put right already."""
    checker = fsck(rig)
    findings = [finding async for finding in checker.findings()]
    assert findings
    for finding in findings * 2:
        await checker.repair(finding)


async def set_upload(rig: Rig, upload: Upload, **values: Any) -> None:
    async with rig.database.transaction() as repository:
        await repository.session.execute(update(Upload).where(Upload.id == upload.id).values(**values))


async def drop(rig: Rig, table: Any, row_id: str) -> None:
    async with rig.database.transaction() as repository:
        await repository.session.execute(delete(table).where(table.id == row_id))


# --- what is wrong ------------------------------------------------------------------------------------------


async def test_bytes_of_an_upload_without_a_row_are_removed(rig: Rig) -> None:
    upload, living = await rig.upload(CONTENT), await rig.upload(CONTENT)
    await drop(rig, Upload, upload.id)
    assert await found(rig) == [Finding(Problem.UPLOAD_BYTES, TENANT, upload.id)]

    await repaired(rig)

    assert await found(rig) == []
    with pytest.raises(FileNotFoundError):
        await rig.storage.receipts(UploadKey(TENANT, upload.id))
    assert len(await rig.storage.receipts(UploadKey(TENANT, living.id))) == 3


async def test_bytes_that_came_back_after_their_upload_was_cleaned_are_removed(rig: Rig) -> None:
    upload = await rig.upload(CONTENT)
    await set_upload(rig, upload, state=UploadState.ABORTED, cleaned=True)
    assert await found(rig) == [Finding(Problem.UPLOAD_BYTES, TENANT, upload.id)]
    await repaired(rig)
    assert await found(rig) == []


async def test_what_a_cut_off_abort_left_is_removed(rig: Rig, tmp_path: Path) -> None:
    left = new_id()
    folder = tmp_path / "storage" / TENANT / "uploads" / f".dying-{left}"
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(b"half")
    assert await found(rig) == [Finding(Problem.UPLOAD_BYTES, TENANT, left)]
    await repaired(rig)
    assert not folder.exists()


async def test_a_sealed_file_that_no_row_publishes_is_removed(rig: Rig) -> None:
    file, kept = await rig.published(CONTENT), await rig.published(CONTENT)
    await drop(rig, File, file.id)
    assert await found(rig) == [Finding(Problem.FILE_BYTES, TENANT, file.id)]
    await repaired(rig)
    assert await found(rig) == []
    await rig.storage.read(ObjectKey(TENANT, kept.id), 0, 1)


@pytest.mark.parametrize("keep", [None, len(CONTENT) - 1])
async def test_a_ready_file_without_all_its_bytes_is_marked_corrupt(rig: Rig, tmp_path: Path, keep: int | None) -> None:
    file, kept = await rig.published(CONTENT), await rig.published(CONTENT)
    [path] = (tmp_path / "storage").glob(f"*/files/*/{file.id}")
    path.unlink()
    if keep is not None:
        path.write_bytes(CONTENT[:keep])
    assert await found(rig) == [Finding(Problem.FILE_GONE, TENANT, file.id)]

    await repaired(rig)

    assert await found(rig) == []
    assert (await rig.file(file.id)).state == FileState.CORRUPT
    assert (await rig.file(kept.id)).state == FileState.READY


async def test_an_empty_file_without_its_name_is_found(rig: Rig, tmp_path: Path) -> None:
    file = await rig.published(b"")
    assert await found(rig) == []
    [path] = (tmp_path / "storage").glob(f"*/files/*/{file.id}")
    path.unlink()
    assert await found(rig) == [Finding(Problem.FILE_GONE, TENANT, file.id)]


@pytest.mark.parametrize("sealed", [False, True])
async def test_an_upload_whose_job_is_gone_gets_a_new_one_that_finishes(rig: Rig, *, sealed: bool) -> None:
    upload = await rig.upload(CONTENT)
    lost = await rig.finalize(upload, ring=False)
    target = ObjectKey(TENANT, str(lost.file_id))
    if sealed:
        plan = SealPlan(target, len(CONTENT), upload.chunk_size)
        await rig.storage.seal(UploadKey(TENANT, upload.id), plan, SealWatch(lambda _: None, threading.Event()))
    await drop(rig, Job, lost.id)
    assert await found(rig) == [Finding(Problem.STUCK_UPLOAD, TENANT, upload.id)]

    await repaired(rig)
    await rig.parts.sweep.once()
    await rig.run()

    assert await found(rig) == []
    done = await rig.get_upload(upload.id)
    assert (done.state, done.file_id) == (UploadState.COMPLETE, target.file_id)


async def test_a_job_that_has_ended_without_its_upload_is_replaced(rig: Rig) -> None:
    upload = await rig.upload(CONTENT)
    job = await rig.finalize(upload, ring=False)
    async with rig.database.transaction() as repository:
        await repository.session.execute(update(Job).where(Job.id == job.id).values(state=JobState.CANCELLED))

    await repaired(rig)

    [replaced] = await rig.jobs(JobKind.FINALIZE)
    assert (replaced.state, replaced.file_id, replaced.id == job.id) == (JobState.QUEUED, job.file_id, False)
    assert (await rig.get_upload(upload.id)).job_id == replaced.id


# --- what is not wrong --------------------------------------------------------------------------------------


async def every_phase(rig: Rig) -> None:
    """Uploads and files at every point of their lives, also between two steps."""
    await rig.upload(CONTENT)  # open, all there
    begun = new_upload(len(CONTENT))
    without_folder = new_upload(len(CONTENT))
    async with rig.database.transaction() as repository:
        await repository.uploads.insert(begun)
        await repository.uploads.insert(without_folder)
    await rig.storage.begin(UploadKey(TENANT, begun.id), len(CONTENT))
    await rig.finalize(await rig.upload(CONTENT), ring=False)  # queued
    running = await rig.finalize(await rig.upload(CONTENT), ring=False)
    assert await rig.parts.leases.claim(running.id) is not None
    dead = await rig.finalize(await rig.upload(CONTENT), ring=False)
    async with rig.database.transaction() as repository:
        failed = update(Job).where(Job.id == dead.id).values(state=JobState.FAILED, error_code="attempts_exhausted")
        await repository.session.execute(failed)
    for state in (UploadState.ABORTED, UploadState.EXPIRED, UploadState.FAILED, UploadState.COMPLETE):
        await set_upload(rig, await rig.upload(CONTENT), state=state)  # the sweep has not come by
    await rig.published(CONTENT)
    for file_state in (FileState.DELETING, FileState.CORRUPT):
        file = await rig.published(CONTENT)
        async with rig.database.transaction() as repository:
            await repository.session.execute(update(File).where(File.id == file.id).values(state=file_state))


async def test_nothing_that_lives_or_that_the_sweep_will_remove_is_found(rig: Rig) -> None:
    await every_phase(rig)
    assert await found(rig) == []


async def test_after_every_phase_the_sweep_alone_leaves_nothing_behind(rig: Rig) -> None:
    await every_phase(rig)
    await rig.parts.sweep.once()
    assert await found(rig) == []


async def test_nothing_is_found_on_a_busy_system(rig: Rig) -> None:
    """Files are made, aborted and deleted all the time while fsck looks again and again."""
    stop = asyncio.Event()

    async def traffic(number: int) -> None:
        worker = rig.second()
        while not stop.is_set():
            if number % 2:
                await publish_and_delete(worker)
            else:
                await begin_and_abort(worker)

    async with asyncio.timeout(60):
        clients = [asyncio.create_task(traffic(number)) for number in range(4)]
        findings = [finding for _ in range(15) for finding in await found(rig)]
        stop.set()
        await asyncio.gather(*clients)
    assert findings == []


async def publish_and_delete(worker: Rig) -> None:
    job = await worker.finalize(await worker.upload(CONTENT), ring=False)
    await worker.parts.runner.run_job({}, job.id, 0)
    file_id = str((await worker.get_upload(job.upload_id)).file_id)
    async with worker.database.transaction() as repository:
        assert await repository.files.start_delete(TENANT, file_id)
    await worker.storage.delete(ObjectKey(TENANT, file_id))
    async with worker.database.transaction() as repository:
        await repository.files.remove(file_id)


async def begin_and_abort(worker: Rig) -> None:
    upload = await worker.upload(CONTENT)
    async with worker.database.transaction() as repository:
        await repository.uploads.move(TENANT, upload.id, UploadState.OPEN, UploadState.ABORTED)
    await worker.storage.abort(UploadKey(TENANT, upload.id))
    async with worker.database.transaction() as repository:
        await repository.uploads.mark_cleaned(upload.id)


async def test_a_chunk_that_is_being_written_is_no_finding(rig: Rig) -> None:
    upload = new_upload(2000, chunk_size=2000)
    async with rig.database.transaction() as repository:
        await repository.uploads.insert(upload)
    key = UploadKey(TENANT, upload.id)
    await rig.storage.begin(key, 2000)
    go_on = asyncio.Event()

    class Slow(Body):
        async def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
            yield [self.data[:1000]]
            await go_on.wait()
            yield [self.data[1000:]]

    writing = asyncio.create_task(rig.storage.write(key, Segment(0, 2000), Slow(b"x" * 2000)))
    assert await found(rig) == []
    go_on.set()
    await writing


async def test_a_dead_letter_that_was_sealed_and_given_up_leaves_no_bytes(rig: Rig) -> None:
    """Its worker died between sealing and publishing, ten times; nobody drove it again."""
    upload = await rig.upload(CONTENT)
    job = await rig.finalize(upload, ring=False)
    target = ObjectKey(TENANT, str(job.file_id))
    plan = SealPlan(target, len(CONTENT), upload.chunk_size)
    await rig.storage.seal(UploadKey(TENANT, upload.id), plan, SealWatch(lambda _: None, threading.Event()))
    await set_upload(rig, upload, state=UploadState.FAILED)

    await rig.parts.sweep.clean()

    with pytest.raises(FileNotFoundError):
        await rig.storage.read(target, 0, 1)
    assert await found(rig) == []


async def test_the_sweep_never_takes_the_bytes_of_a_published_file(rig: Rig) -> None:
    file = await rig.published(CONTENT)
    async with rig.database.transaction() as repository:
        await repository.session.execute(update(Upload).values(cleaned=False))
    await rig.parts.sweep.clean()
    await rig.storage.read(ObjectKey(TENANT, file.id), 0, 1)
