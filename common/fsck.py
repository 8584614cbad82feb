"""Compares what the storage holds with what the database knows, both ways. Finds; repairs only when asked to.

The storage is listed first and the database asked afterwards. A row always exists before its bytes and longer than
them, so what has no row by then was left behind, whatever else is going on: nothing live can be found here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from common.db.database import Database
from common.storage.base import Lists, ObjectKey, Storage, UploadKey

Key = TypeVar("Key")

BATCH = 500  # ids in one statement


class Problem(StrEnum):
    """What can be wrong, and what `repair` does about it."""

    UPLOAD_BYTES = "upload_bytes"  # bytes of an upload that has ended or never was: removed
    CUT_OFF_ABORT = "cut_off_abort"  # half removed bytes: removed
    FILE_BYTES = "file_bytes"  # a sealed file that no row publishes: removed
    FILE_GONE = "file_gone"  # a ready file whose bytes are missing or too short: marked corrupt
    STUCK_UPLOAD = "stuck_upload"  # finalizing, and no job to end it: back to open, so that it can be finalized again


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

    def __init__(self, database: Database, storage: ListableStorage, upload_ttl: float) -> None:
        self._database = database
        self._storage = storage
        self._ttl = upload_ttl

    async def findings(self) -> AsyncIterator[Finding]:
        """Everything that is wrong, in no particular order. Raises DatabaseUnavailable, StorageUnavailable."""
        async for finding in self._uploads():
            yield finding
        sizes: dict[str, int] = {}
        async for finding in self._objects(sizes):
            yield finding
        async for finding in self._files(sizes):
            yield finding
        async with self._database.reading() as repository:
            stuck = await repository.uploads.without_job(BATCH)
        for upload in stuck:
            yield Finding(Problem.STUCK_UPLOAD, upload.tenant, upload.id)

    async def repair(self, finding: Finding) -> None:
        """Put one finding right. Repeating it is fine."""
        upload = UploadKey(finding.tenant, finding.subject)
        match finding.problem:
            case Problem.UPLOAD_BYTES:
                await self._storage.abort(upload)
            case Problem.CUT_OFF_ABORT:
                await self._storage.finish_abort(upload)
            case Problem.FILE_BYTES:
                await self._storage.delete(ObjectKey(finding.tenant, finding.subject))
            case Problem.FILE_GONE:
                async with self._database.transaction() as repository:
                    await repository.files.mark_corrupt(finding.subject)
            case Problem.STUCK_UPLOAD:
                async with self._database.transaction() as repository:
                    await repository.uploads.reopen(finding.tenant, finding.subject, self._ttl)

    async def _uploads(self) -> AsyncIterator[Finding]:
        async for batch in self._storage.uploads():
            for found in (item for item in batch if item.dying):
                yield Finding(Problem.CUT_OFF_ABORT, found.key.tenant, found.key.upload_id)
            keys = [item.key for item in batch if not item.dying]
            for some in _chunked(keys):
                async with self._database.reading() as repository:
                    living = await repository.uploads.living(key.upload_id for key in some)
                for key in some:
                    if key.upload_id not in living:
                        yield Finding(Problem.UPLOAD_BYTES, key.tenant, key.upload_id)

    async def _objects(self, sizes: dict[str, int]) -> AsyncIterator[Finding]:
        async for batch in self._storage.objects():
            sizes.update((item.key.file_id, item.size) for item in batch)
            for some in _chunked([item.key for item in batch]):
                ids = [key.file_id for key in some]
                async with self._database.reading() as repository:
                    # in this order: a file that is published in between has left the first set for the second
                    owned = await repository.uploads.sealing(ids)
                    owned |= await repository.files.known(ids)
                for key in some:
                    if key.file_id not in owned:
                        yield Finding(Problem.FILE_BYTES, key.tenant, key.file_id)

    async def _files(self, sizes: dict[str, int]) -> AsyncIterator[Finding]:
        """Ready files against the bytes that were listed; those published since are looked at once more."""
        last = ""
        while True:
            async with self._database.reading() as repository:
                files = await repository.files.ids_after(last, BATCH)
            for file in files:
                if sizes.get(file.id) != file.size and not await self._is_there(
                    ObjectKey(file.tenant, file.id), file.size
                ):
                    yield Finding(Problem.FILE_GONE, file.tenant, file.id)
            if len(files) < BATCH:
                return
            last = files[-1].id

    async def _is_there(self, key: ObjectKey, size: int) -> bool:
        """Whether the last byte can be read; a file that was deleted meanwhile is no finding."""
        try:
            pieces = await self._storage.read(key, max(size - 1, 0), min(size, 1))
            read = sum([len(piece) async for piece in pieces])
        except FileNotFoundError:
            async with self._database.reading() as repository:
                return await repository.files.get(key.tenant, key.file_id) is None
        return read == min(size, 1)


def _chunked(keys: list[Key]) -> list[list[Key]]:
    return [keys[start : start + BATCH] for start in range(0, len(keys), BATCH)]
