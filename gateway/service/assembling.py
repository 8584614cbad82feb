"""A final upload becomes a file when all its parts have arrived: whoever sees that makes the job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from common.db.database import Database
from common.db.models import Job, Upload
from common.db.uploads import Said
from common.errors import FileTooLarge, UploadNotOpen
from common.settings import LimitsSettings
from common.states import UploadState
from common.storage.base import Storage, UploadKey
from common.storage.streaming import Appends
from common.telemetry import get_logger
from gateway.service.caller import Caller
from gateway.service.finalize import FinalizeService

log = get_logger(__name__)

AT_ONCE = 16  # parts that are looked at


class Assembling:
    """See the module. Asks for no turns: a part that has arrived whole changes no more."""

    def __init__(
        self, limits: LimitsSettings, finalizing: FinalizeService, database: Database, storage: Storage
    ) -> None:
        self._limits = limits
        self._finalizing = finalizing
        self._database = database
        self._storage = storage

    async def completed(self, caller: Caller, partial: Upload) -> None:
        """A part has arrived whole: start those that waited for it."""
        async with self._database.reading() as db:
            finals = await db.parts.waiting_for(partial.tenant, partial.id)
        for final in finals:
            with suppress(FileTooLarge, UploadNotOpen):  # the part is as it should be: who looks at the other is told
                await self.started(caller, final)

    async def started(self, caller: Caller, final: Upload) -> Job | None:
        """The job of an open final upload; None while a part is not whole. Raises FileTooLarge."""
        async with self._database.reading() as db:
            found = await db.parts.of(final.tenant, final.id)
        parts = [part for part in found if part is not None and part.state == UploadState.OPEN]
        size = total(parts)
        if len(parts) < len(found) or size is None:
            return None
        if size > self._limits.max_file_size:
            raise FileTooLarge(f"A file may have at most {self._limits.max_file_size} bytes.")
        if not await self._all_whole(parts):
            return None
        said = Said(size, final.description, final.meta, final.tags, final.digests)
        return await self._finalizing.start_job(caller, final, said)

    async def _all_whole(self, parts: Sequence[Upload]) -> bool:
        """Ends with the first that is not; asks for a few at a time, so that others get at the storage meanwhile."""
        different = list({part.id: part for part in parts}.values())
        for first in range(0, len(different), AT_ONCE):
            if not all(await asyncio.gather(*map(self._whole, different[first : first + AT_ONCE]))):
                return False
        return True

    async def _whole(self, part: Upload) -> bool:
        assert isinstance(self._storage, Appends)
        try:
            return await self._storage.end(UploadKey(part.tenant, part.id)) == part.size
        except FileNotFoundError:
            return False


def total(parts: Sequence[Upload]) -> int | None:
    """Bytes of all parts together; None while one of them has no size yet."""
    sizes = [part.size for part in parts]
    return None if None in sizes else sum(size or 0 for size in sizes)


def require_parts_open(parts: Sequence[Upload]) -> None:
    """Raises UploadNotOpen."""
    for part in parts:
        if part.state != UploadState.OPEN:
            raise UploadNotOpen(f"The part {part.id} is {part.state}.", state=part.state)
