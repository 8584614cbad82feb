"""Files: list, look at, read, change what may change, delete."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from common.chunking import MIB
from common.db.database import Database
from common.db.files import FileFilter
from common.db.models import File
from common.db.paging import Page, bounded
from common.errors import FileCorrupt, FileNotFound, StorageUnavailable
from common.ids import is_id
from common.settings import LimitsSettings
from common.states import FileState
from common.storage.base import Locates, ObjectKey, Storage
from common.telemetry import Metrics, get_logger
from gateway.service.caller import Caller
from gateway.service.requests import Description, check_about

log = get_logger(__name__)

PAGE_BYTES = 4 * MIB  # a page of a listing ends where it passes this


class FileService:
    """See the module."""

    def __init__(
        self, limits: LimitsSettings, database: Database, storage: Storage, metrics: Metrics, *, accel: str = ""
    ) -> None:
        """`accel`: path of nginx's location over the storage's folder (`SLUICE_ACCEL_REDIRECT`)."""
        self._limits = limits
        self._database = database
        self._storage = storage
        self._metrics = metrics
        self._accel = accel.rstrip("/")

    async def get(self, caller: Caller, file_id: str) -> File:
        """Raises FileNotFound."""
        if is_id(file_id):
            async with self._database.reading() as db:
                file = await db.files.get(caller.tenant, file_id)
            if file is not None:
                return file
        raise FileNotFound("There is no file with this id.")

    async def page(self, caller: Caller, wanted: FileFilter, cursor: str | None, limit: int) -> Page[File]:
        """Newest first; shorter than `limit` where the files have much to say. Raises InvalidRequest for a foreign
        cursor."""
        async with self._database.reading() as db:
            return await bounded(partial(db.files.page, caller.tenant, wanted), cursor, limit, _weight, PAGE_BYTES)

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

    def check_sound(self, file: File) -> None:
        """Raises FileCorrupt for a file whose bytes are known to be wrong."""
        if file.state == FileState.CORRUPT:
            raise FileCorrupt("The stored bytes are not those that were published; upload the file again.")

    async def open(self, file: File, start: int, length: int) -> Content:
        """The bytes of a range; close them. Raises FileNotFound when the file was deleted meanwhile."""
        try:
            content = await self._storage.read(ObjectKey(file.tenant, file.id), start, length)
        except FileNotFoundError as error:
            raise await self._lost(file) from error
        return Content(content, self._metrics)

    async def locate(self, file: File) -> str | None:
        """Where nginx finds the bytes; None where it cannot send them. Raises FileNotFound."""
        if not self._accel or not isinstance(self._storage, Locates):
            return None
        try:
            return f"{self._accel}/{await self._storage.locate(ObjectKey(file.tenant, file.id))}"
        except FileNotFoundError as error:
            raise await self._lost(file) from error

    async def _lost(self, file: File) -> FileNotFound | StorageUnavailable:
        async with self._database.reading() as db:
            still_there = await db.files.get(file.tenant, file.id)
        if still_there is None:
            return FileNotFound("The file was deleted.")
        log.error("file.bytes_lost", file_id=file.id)
        return StorageUnavailable("The bytes of this file cannot be read; tell the operator.")


def _weight(file: File) -> int:
    """About the bytes of a file in a listing; what clients cannot make longer counts as 1 KiB."""
    return 1024 + len(json.dumps([file.description, file.meta, file.tags, file.attributes, file.digests]))


class Content:
    """Bytes of a file on their way out, counted. `aclose` lets go of them, also where none was asked for."""

    def __init__(self, pieces: AsyncIterator[bytes], metrics: Metrics) -> None:
        self._pieces = pieces
        self._sent = metrics.sent_bytes

    def __aiter__(self) -> Content:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self._sent.inc(len(piece))
        return piece

    async def aclose(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()
