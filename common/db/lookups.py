"""Rows by id for many callers at once: those who ask in the same moment share a statement."""

from __future__ import annotations

from collections.abc import Sequence

from common.db.database import Database
from common.db.models import File, Job, Upload
from common.db.statements import Key
from common.errors import DatabaseUnavailable
from common.gather import Gather

AT_ONCE = 100  # rows of one statement


class Lookups:
    """Each method gives the row as it is now, or None. Rows are for reading: two callers may get the same one.

    All raise DatabaseUnavailable.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        away = (DatabaseUnavailable,)
        self._uploads = Gather(self._find_uploads, AT_ONCE, away)
        self._jobs = Gather(self._find_jobs, AT_ONCE, away)
        self._files = Gather(self._find_files, AT_ONCE, away)

    async def upload(self, tenant: str, upload_id: str) -> Upload | None:
        return await self._uploads.ask((tenant, upload_id))

    async def job(self, tenant: str, job_id: str) -> Job | None:
        return await self._jobs.ask((tenant, job_id))

    async def file(self, tenant: str, file_id: str) -> File | None:
        """Only a visible one: `ready` or `corrupt`."""
        return await self._files.ask((tenant, file_id))

    async def _find_uploads(self, keys: Sequence[Key]) -> list[Upload | None]:
        async with self._database.reading() as db:
            found = await db.uploads.get_all(keys)
        return [found.get(key) for key in keys]

    async def _find_jobs(self, keys: Sequence[Key]) -> list[Job | None]:
        async with self._database.reading() as db:
            found = await db.jobs.get_all(keys)
        return [found.get(key) for key in keys]

    async def _find_files(self, keys: Sequence[Key]) -> list[File | None]:
        async with self._database.reading() as db:
            found = await db.files.get_all(keys)
        return [found.get(key) for key in keys]
