"""Compares what the storage holds with what the database knows, both ways. Finds; repairs only when asked to.

The storage is listed first, the database is asked about what was listed, and what it does not know is looked for once
more. A row is there before its bytes, and says that there may be some until they are gone. So nothing that lives, and
nothing that the sweep is about to remove, is ever found here, whatever goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from common.db.clock import db_now
from common.db.database import Database
from common.db.models import File, Job, Upload
from common.starting import new_job
from common.states import JobKind
from common.storage.base import Lists, ObjectKey, Storage, UploadKey

Key = TypeVar("Key", UploadKey, ObjectKey)
Known = Callable[[list[Key]], Awaitable[set[str]]]

BATCH = 500  # ids in one statement
LOOKS_AT_ONCE = 16  # files that are looked at in the storage at the same time


class Problem(StrEnum):
    """What can be wrong, and what `repair` does about it."""

    UPLOAD_BYTES = "upload_bytes"  # bytes of an upload that has ended or never was: removed
    FILE_BYTES = "file_bytes"  # a sealed file that no row publishes: removed
    FILE_GONE = "file_gone"  # a ready file whose bytes are missing or too short: marked corrupt
    STUCK_UPLOAD = "stuck_upload"  # finalizing, and no job to end it: gets a new job


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; `subject` is the id of the upload or file."""

    problem: Problem
    tenant: str
    subject: str


class ListableStorage(Storage, Lists, Protocol):
    """A storage that can also be listed."""


class Fsck:
    """One pass over everything. May run while the service does."""

    def __init__(self, database: Database, storage: ListableStorage) -> None:
        self.agreed = 0  # things that the storage holds and the database knows: 0 may mean that they do not belong
        self._database = database
        self._storage = storage

    async def findings(self) -> AsyncIterator[Finding]:
        """Everything that is wrong, in no particular order. Raises DatabaseUnavailable, StorageUnavailable."""
        for upload in await self._unknown(self._storage.uploads, self._known_uploads):
            yield Finding(Problem.UPLOAD_BYTES, upload.tenant, upload.upload_id)
        for listing in (self._storage.objects, self._storage.unsealed):
            for key in await self._unknown(listing, self._known_objects):
                yield Finding(Problem.FILE_BYTES, key.tenant, key.file_id)
        async for file in self._gone():
            yield Finding(Problem.FILE_GONE, file.tenant, file.id)
        async for stuck in self._stuck():
            yield Finding(Problem.STUCK_UPLOAD, stuck.tenant, stuck.id)

    async def repair(self, finding: Finding) -> None:
        """Put one finding right. Repeating it is fine, also when it is none any more."""
        match finding.problem:
            case Problem.UPLOAD_BYTES:
                await self._storage.abort(UploadKey(finding.tenant, finding.subject))
            case Problem.FILE_BYTES:
                await self._storage.delete(ObjectKey(finding.tenant, finding.subject))
            case Problem.FILE_GONE:
                async with self._database.transaction() as repository:
                    await repository.files.mark_corrupt(finding.subject)
            case Problem.STUCK_UPLOAD:
                await self._give_job(finding)

    # --- bytes without a row --------------------------------------------------------------------------------

    async def _unknown(self, listing: Callable[[], AsyncIterator[list[Key]]], known: Known[Key]) -> set[Key]:
        """What is listed, has no row, and is still there at a second look: who asked first may have removed it."""
        suspects: set[Key] = set()
        async for batch in listing():
            for some in _parts(batch):
                ids = await known(some)
                self.agreed += len(ids)
                suspects |= {key for key in some if _id(key) not in ids}
        left: set[Key] = set()
        if suspects:
            async for batch in listing():
                left |= suspects.intersection(batch)
        return left

    async def _known_uploads(self, keys: list[UploadKey]) -> set[str]:
        async with self._database.reading() as repository:
            return await repository.uploads.with_bytes(map(_id, keys))

    async def _known_objects(self, keys: list[ObjectKey]) -> set[str]:
        ids = list(map(_id, keys))
        async with self._database.reading() as repository:
            # in this order: a file that is published in between leaves the first set for the second
            sealing = await repository.uploads.sealing_to(ids)
            return sealing | await repository.files.known(ids)

    # --- rows without bytes ---------------------------------------------------------------------------------

    async def _gone(self) -> AsyncIterator[File]:
        last = ""
        while True:
            async with self._database.reading() as repository:
                files = await repository.files.ready_after(last, BATCH)
            for start in range(0, len(files), LOOKS_AT_ONCE):
                some = files[start : start + LOOKS_AT_ONCE]
                there = await asyncio.gather(*map(self._is_there, some))
                for file in (file for file, found in zip(some, there, strict=True) if not found):
                    yield file
            if len(files) < BATCH:
                return
            last = files[-1].id

    async def _is_there(self, file: File) -> bool:
        """Whether the file can be opened up to its end; one that was deleted meanwhile is no finding."""
        try:
            await _end_of(await self._storage.read(ObjectKey(file.tenant, file.id), file.size, 0))
        except FileNotFoundError:
            async with self._database.reading() as repository:
                return await repository.files.get(file.tenant, file.id) is None
        return True

    async def _stuck(self) -> AsyncIterator[Upload]:
        last = ""
        while True:
            async with self._database.reading() as repository:
                uploads = await repository.uploads.without_job(last, BATCH)
            for upload in uploads:
                yield upload
            if len(uploads) < BATCH:
                return
            last = uploads[-1].id

    async def _give_job(self, finding: Finding) -> None:
        """A job that goes on where the lost one was: to the same target, for it may be sealed already."""
        async with self._database.transaction() as repository:
            upload = await repository.uploads.get(finding.tenant, finding.subject)
            if upload is None or not await repository.uploads.lacks_job(upload.id):
                return
            job = _job_for(upload)
            await repository.jobs.remove_round(upload.id, JobKind.FINALIZE, upload.round)
            if await repository.uploads.hand_over(upload, job.id):
                await repository.jobs.insert(job)


def _job_for(upload: Upload) -> Job:
    """Due at once; the sweep rings its bell."""
    job = new_job(upload, upload.size or 0)
    job.rung_at = db_now(-3600)  # an hour ago: nobody has heard of it
    return job


async def _end_of(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


def _id(key: UploadKey | ObjectKey) -> str:
    return key.upload_id if isinstance(key, UploadKey) else key.file_id


def _parts(keys: list[Key]) -> Iterable[list[Key]]:
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))
