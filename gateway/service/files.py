"""Files: list, look at, read, change what may change, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from common.db.database import Database
from common.db.files import FileFilter
from common.db.models import File
from common.db.paging import Page
from common.errors import FileCorrupt, FileNotFound, StorageUnavailable
from common.ids import is_id
from common.settings import LimitsSettings
from common.states import FileState
from common.storage.base import ObjectKey, Storage
from common.telemetry import Metrics, get_logger
from gateway.service.caller import Caller
from gateway.service.requests import Description, check_about

log = get_logger(__name__)


class FileService:
    """See the module."""

    def __init__(self, limits: LimitsSettings, database: Database, storage: Storage, metrics: Metrics) -> None:
        self._limits = limits
        self._database = database
        self._storage = storage
        self._metrics = metrics

    async def get(self, caller: Caller, file_id: str) -> File:
        """Raises FileNotFound."""
        if is_id(file_id):
            async with self._database.reading() as db:
                file = await db.files.get(caller.tenant, file_id)
            if file is not None:
                return file
        raise FileNotFound("There is no file with this id.")

    async def page(self, caller: Caller, wanted: FileFilter, cursor: str | None, limit: int) -> Page[File]:
        """Newest first. Raises InvalidRequest for a foreign cursor."""
        async with self._database.reading() as db:
            return await db.files.page(caller.tenant, wanted, cursor, limit)

    async def change(self, caller: Caller, file_id: str, given: dict[str, Any]) -> File:
        """Set those of description, tags and metadata that are in `given`. Raises FileNotFound, MetadataTooLarge."""
        file = await self.get(caller, file_id)
        about = check_about(
            Description(
                given.get("description", file.description),
                given.get("metadata", file.meta),
                given.get("tags", file.tags),
            ),
            self._limits,
        )
        columns = {"description": about.description, "metadata": about.metadata, "tags": about.tags}
        values = {("meta" if name == "metadata" else name): columns[name] for name in given}
        async with self._database.transaction() as db:
            changed = await db.files.change(caller.tenant, file_id, values)
        if changed is None:
            raise FileNotFound("The file was deleted.")
        return changed

    async def delete(self, caller: Caller, file_id: str) -> None:
        """Invisible at once, then the bytes, then the row: what a crash leaves the sweep finishes."""
        await self.get(caller, file_id)
        async with self._database.transaction() as db:
            if not await db.files.start_delete(caller.tenant, file_id):
                return  # somebody else deletes it at this moment
        try:
            await self._storage.delete(ObjectKey(caller.tenant, file_id))
        except StorageUnavailable:
            log.warning("file.delete_left_bytes", file_id=file_id)
            return
        async with self._database.transaction() as db:
            await db.files.remove(file_id)
        log.info("file.deleted", file_id=file_id)

    async def open(self, file: File, start: int, length: int) -> AsyncIterator[bytes]:
        """The bytes of a range. Raises FileCorrupt, FileNotFound when the file was deleted meanwhile."""
        if file.state == FileState.CORRUPT:
            raise FileCorrupt("The scrub found other bytes than were published; upload the file again.")
        try:
            content = await self._storage.read(ObjectKey(file.tenant, file.id), start, length)
        except FileNotFoundError as error:
            raise await self._lost(file) from error
        return self._counted(content)

    async def _counted(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for piece in content:
                self._metrics.sent_bytes.inc(len(piece))
                yield piece
        finally:
            close = getattr(content, "aclose", None)
            if close is not None:
                await close()

    async def _lost(self, file: File) -> FileNotFound | StorageUnavailable:
        async with self._database.reading() as db:
            still_there = await db.files.get(file.tenant, file.id)
        if still_there is None:
            return FileNotFound("The file was deleted.")
        log.error("file.bytes_lost", file_id=file.id)
        return StorageUnavailable("The bytes of this file cannot be read; tell the operator.")
