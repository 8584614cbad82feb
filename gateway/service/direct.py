"""Direct uploads: the bytes go from the client to the store, we only sign where to. Finalize looks what arrived."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from common.errors import DirectNotAvailable, InvalidRequest, StorageUnavailable, UploadNotOpen
from common.states import UploadState
from common.storage.base import Storage, UploadKey
from common.storage.presigning import PresignedChunk
from gateway.service.caller import Caller
from gateway.service.presigning import require_presigning
from gateway.service.uploads import UploadService

DIGITS = 9  # of a cursor: far more than any upload has chunks


@dataclass(frozen=True, slots=True)
class Links:
    """One page: links for missing chunks, good until `expires_at`; `next_cursor` where more are missing."""

    items: list[PresignedChunk]
    expires_at: datetime
    next_cursor: str | None


class DirectService:
    """See the module. `link_seconds` is how long a link is good."""

    def __init__(self, uploads: UploadService, storage: Storage, link_seconds: float) -> None:
        self._uploads = uploads
        self._storage = storage
        self._link_seconds = link_seconds

    async def page(self, caller: Caller, upload_id: str, cursor: str | None, limit: int) -> Links:
        """Links for at most `limit` chunks that are missing, from the chunk that `cursor` names on.

        Raises UploadNotFound, UploadNotOpen, DirectNotAvailable, InvalidRequest, StorageUnavailable.
        """
        first = _first(cursor)
        upload = await self._uploads.load(caller, upload_id)
        if not upload.direct:
            raise DirectNotAvailable("This upload was not created with transport direct; send its chunks to us.")
        if upload.state != UploadState.OPEN:
            raise UploadNotOpen(f"The upload is {upload.state}; it takes no chunks.", state=upload.state)
        storage = require_presigning(self._storage)
        status = await self._uploads.status_of(upload)
        missing = (index for start, end in status.missing for index in range(max(start, first), end + 1))
        wanted = list(islice(missing, limit + 1))
        expires_at = datetime.now(UTC) + timedelta(seconds=self._link_seconds)
        try:
            items = await storage.presign(UploadKey(upload.tenant, upload.id), wanted[:limit])
        except FileNotFoundError as error:
            raise StorageUnavailable("The upload is not in the store; create a new one.") from error
        return Links(items, expires_at, str(wanted[limit]) if len(wanted) > limit else None)


def _first(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > DIGITS:
        raise InvalidRequest("The cursor is not one that this service gave; start without one.")
    return int(cursor)
