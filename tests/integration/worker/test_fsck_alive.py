"""fsck names nothing that lives and nothing that the sweep will remove, whatever else is going on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, cast

import pytest
from sqlalchemy import update

from common.db.models import File, Job, Upload
from common.fsck import Fsck, ListableStorage
from common.states import FileState, JobState, UploadState
from common.storage.base import ObjectKey, Segment, UploadKey
from common.storage.local import LocalStorage
from tests.contract.storage_parts import beginning
from tests.integration.worker.rig import TENANT, Body, Rig, new_upload
from tests.integration.worker.test_fsck import CONTENT, found, sealed, set_upload


async def every_phase(rig: Rig) -> None:
    """Uploads and files at every point of their lives, also between two steps."""
    await rig.upload(CONTENT)  # open, all there
    begun = new_upload(len(CONTENT))
    without_folder = new_upload(len(CONTENT))
    async with rig.database.transaction() as repository:
        await repository.uploads.insert(begun)
        await repository.uploads.insert(without_folder)
    await rig.storage.begin(*beginning(UploadKey(TENANT, begun.id), len(CONTENT)))
    await rig.finalize(await rig.upload(CONTENT), ring=False)  # queued
    waiting = await rig.upload(CONTENT)
    await sealed(rig, waiting, await rig.finalize(waiting, ring=False))  # its worker died before it published
    running = await rig.finalize(await rig.upload(CONTENT), ring=False)
    assert await rig.parts.leases.claim([running.id])
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


class SlowLister:
    """A storage whose listings are old when they are read: `meanwhile` happens once in between."""

    def __init__(self, real: LocalStorage, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._real, self._meanwhile = real, meanwhile
        self._done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def uploads(self) -> AsyncIterator[list[UploadKey]]:
        async for batch in self._real.uploads():
            await self._pass_time()
            yield batch

    async def objects(self) -> AsyncIterator[list[ObjectKey]]:
        async for batch in self._real.objects():
            await self._pass_time()
            yield batch

    async def _pass_time(self) -> None:
        if not self._done:
            self._done = True
            await self._meanwhile()


@pytest.mark.parametrize("what", ["aborted", "deleted"])
async def test_what_is_removed_between_listing_and_asking_is_no_finding(rig: Rig, what: str) -> None:
    upload = await rig.upload(CONTENT)
    if what == "deleted":
        await finished(rig, upload)

    async def meanwhile() -> None:
        if what == "deleted":
            await remove_file(rig, upload.id)
        else:
            await abort(rig, upload.id)

    assert isinstance(rig.storage, LocalStorage)
    checker = Fsck(rig.database, cast("ListableStorage", SlowLister(rig.storage, meanwhile)))
    assert [finding async for finding in checker.findings()] == []


async def finished(rig: Rig, upload: Upload) -> None:
    job = await rig.finalize(upload, ring=False)
    await rig.parts.runner.run_job({}, job.id, 0)
    assert (await rig.job(job.id)).state == JobState.SUCCEEDED


async def publish_and_delete(worker: Rig) -> None:
    upload = await worker.upload(CONTENT)
    await finished(worker, upload)
    await remove_file(worker, upload.id)


async def remove_file(rig: Rig, upload_id: str) -> None:
    """As `DELETE /v1/files/{id}`."""
    file_id = str((await rig.get_upload(upload_id)).file_id)
    async with rig.database.transaction() as repository:
        assert await repository.files.start_delete(TENANT, file_id)
    await rig.storage.delete(ObjectKey(TENANT, file_id))
    async with rig.database.transaction() as repository:
        await repository.files.remove(file_id)


async def begin_and_abort(worker: Rig) -> None:
    await abort(worker, (await worker.upload(CONTENT)).id)


async def abort(rig: Rig, upload_id: str) -> None:
    """As `DELETE /v1/uploads/{id}`."""
    async with rig.database.transaction() as repository:
        await repository.uploads.move(TENANT, upload_id, UploadState.OPEN, UploadState.ABORTED)
    await rig.storage.abort(UploadKey(TENANT, upload_id))
    async with rig.database.transaction() as repository:
        await repository.uploads.mark_cleaned(upload_id)


async def test_a_chunk_that_is_being_written_is_no_finding(rig: Rig) -> None:
    upload = new_upload(2000, chunk_size=2000)
    async with rig.database.transaction() as repository:
        await repository.uploads.insert(upload)
    key = UploadKey(TENANT, upload.id)
    await rig.storage.begin(*beginning(key, 2000))
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
    await sealed(rig, upload, job)
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
