"""A final upload becomes a file when all its parts have arrived: whoever sees that makes the job."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from common.db.database import Database
from common.db.models import Job, Upload
from common.db.uploads import Said
from common.errors import FileTooLarge, UploadNotOpen
from common.finals import all_whole, announced, total
from common.settings import LimitsSettings
from common.states import UploadState
from common.storage.base import Storage, UploadKey
from common.storage.streaming import Appends
from common.telemetry import get_logger
from gateway.service.caller import Caller
from gateway.service.finalize import FinalizeService

log = get_logger(__name__)


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
            # the part is as it should be: who looks at the other is told
            with suppress(FileTooLarge, UploadNotOpen):
                if await self._has_begun(final):
                    await self.started(caller, final)

    async def _has_begun(self, final: Upload) -> bool:
        """Whether who makes it has come to the storage. Until then that one looks, and a job would find nothing."""
        assert isinstance(self._storage, Appends), "otherwise there are no parts"
        try:
            await self._storage.end(UploadKey(final.tenant, final.id))
        except FileNotFoundError:
            return False
        return True

    async def started(self, caller: Caller, final: Upload) -> Job | None:
        """The job of an open final upload; None while a part is not whole. Raises FileTooLarge."""
        async with self._database.reading() as db:
            parts = announced(await db.parts.of(final.tenant, final.id))
        size = None if parts is None else total(parts)
        if parts is None or size is None:
            return None
        if size > self._limits.max_file_size:
            raise FileTooLarge(f"A file may have at most {self._limits.max_file_size} bytes.")
        if not await all_whole(self._storage, parts):
            return None
        said = Said(size, final.description, final.meta, final.tags, final.digests)
        return await self._finalizing.start_job(caller, final, said)


def require_parts_open(parts: Sequence[Upload]) -> None:
    """Raises UploadNotOpen."""
    for part in parts:
        if part.state != UploadState.OPEN:
            raise UploadNotOpen(f"The part {part.id} is {part.state}.", state=part.state)
