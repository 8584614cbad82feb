"""fsck: orphans both ways are found and repaired. What it must never name is in `test_fsck_alive`."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from common.db.models import File, Job, Upload
from common.fsck import Finding, Fsck, Problem
from common.ids import new_id
from common.states import FileState, JobKind, JobState, UploadState
from common.storage.base import ObjectKey, SealPlan, SealWatch, UploadKey
from common.storage.local import LocalStorage
from tests.integration.worker.rig import TENANT, Rig

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


async def sealed(rig: Rig, upload: Upload, job: Job) -> None:
    """The first half of the job: the storage has the file, the database does not."""
    plan = SealPlan(ObjectKey(TENANT, str(job.file_id)), len(CONTENT), upload.chunk_size)
    await rig.storage.seal(UploadKey(TENANT, upload.id), plan, SealWatch(lambda _: None, threading.Event()))


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


@pytest.mark.parametrize("sealed_already", [False, True])
async def test_an_upload_whose_job_is_gone_gets_a_new_one_that_finishes(rig: Rig, *, sealed_already: bool) -> None:
    upload = await rig.upload(CONTENT)
    lost = await rig.finalize(upload, ring=False)
    target = ObjectKey(TENANT, str(lost.file_id))
    if sealed_already:
        await sealed(rig, upload, lost)
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
