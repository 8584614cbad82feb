"""Final uploads: several partial ones behind each other, put together by the job and not by the client's line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from common.db.database import Database
from common.db.models import Upload
from common.errors import InvalidRequest, NotAppendable, NotPartial
from common.finals import total
from common.settings import LimitsSettings
from common.storage.base import Storage
from common.storage.streaming import Concatenates
from common.telemetry import get_logger
from gateway.service.assembling import require_parts_open
from gateway.service.caller import Caller
from gateway.service.streams import NewStream, StreamService, StreamStatus
from gateway.service.uploads import UploadService

log = get_logger(__name__)

MOST_PARTS = 1000  # clients that send in parallel make four to a hundred; each is a folder to look into
MOST_FINALS = 16  # that wait for one part; whoever looks at the part looks at all parts of each


class ConcatenationService:
    """See the module."""

    def __init__(
        self,
        limits: LimitsSettings,
        uploads: UploadService,
        streams: StreamService,
        database: Database,
        storage: Storage,
    ) -> None:
        self._limits = limits
        self._uploads = uploads
        self._streams = streams
        self._database = database
        self._storage = storage

    @property
    def available(self) -> bool:
        """Whether the storage can put uploads together: surfaces advertise it then."""
        return isinstance(self._storage, Concatenates)

    async def create(self, caller: Caller, new: NewStream, partial_ids: Sequence[str]) -> StreamStatus:
        """A final upload of these parts, in this order; one may come twice. Its job begins when all have arrived,
        which may be later. The size follows from the parts: that of `new` is not looked at.

        Raises UploadNotFound and UploadNotOpen (a part), NotPartial, InvalidRequest (none, or too many, or a part that
        too many others wait for), and what a new upload raises.
        """
        if not self.available:
            raise NotAppendable("The storage of this service cannot put uploads together.")
        if not 1 <= len(partial_ids) <= MOST_PARTS:
            raise InvalidRequest(f"A final upload has 1 to {MOST_PARTS} parts.")
        parts = await asyncio.gather(*(self._streams.load(caller, partial_id) for partial_id in partial_ids))
        if not all(part.partial for part in parts):
            raise NotPartial("Only uploads that were created as partial ones can be concatenated.")
        require_parts_open(parts)
        upload = self._streams.new_row(caller, _of_size(new, total(parts)))
        upload.parts = len(parts)
        await self._insert(upload, parts)
        await self._uploads.make_room(upload)
        log.info("upload.created", upload_id=upload.id, size=upload.size, parts=len(parts))
        return await self._streams.status(caller, upload.id)

    async def _insert(self, upload: Upload, parts: Sequence[Upload]) -> None:
        """With the row its parts, which live as long from now on."""
        until = datetime.now(UTC) + timedelta(seconds=self._limits.upload_ttl)
        async with self._database.transaction() as db:
            if await db.parts.most_waiting(upload.tenant, [part.id for part in parts]) >= MOST_FINALS:
                raise InvalidRequest(f"At most {MOST_FINALS} final uploads may wait for one part.")
            await db.uploads.insert(upload)
            await db.parts.insert(upload.id, [part.id for part in parts])
            await db.uploads.postpone([part.id for part in parts], until)


def _of_size(new: NewStream, size: int | None) -> NewStream:
    return NewStream(size, new.filename, new.content_type, new.digests, new.about, surface=new.surface)
