"""Open uploads whose time is over end, unless bytes still arrive: to them, or to a part of the same final upload.

A final upload receives no bytes of its own. It lives as long as bytes arrive for one of its parts, and keeps the
others: without them it could never be put together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from common.db.models import Upload
from common.errors import SluiceError
from common.states import UploadState
from common.storage.base import UploadKey
from common.telemetry import get_logger
from worker.context import WorkerContext
from worker.side_by_side import AT_ONCE, each

log = get_logger(__name__)

DUE_AT_ONCE = 100  # uploads of one pass
LONGEST_LIFE = 30  # times SLUICE_UPLOAD_TTL since its creation: no longer do parts keep a final upload, nor it them


class Expiry:
    """A step of the sweep."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._database = context.database
        self._storage = context.storage
        self._ttl = timedelta(seconds=context.settings.limits.upload_ttl)

    async def some(self) -> bool:
        """A batch of those that are due; whether there are more. Final uploads first: they decide for their parts."""
        async with self._database.reading() as repository:
            due = await repository.uploads.due_to_expire(DUE_AT_ONCE)
            waiting = await repository.parts.waiting_for_any([upload.id for upload in due if upload.partial])
        finals = {final.id: final for final in (*waiting, *due) if final.parts is not None}
        others = {upload.id: upload for upload in due if upload.parts is None}
        ends = {name: partial(self._expire_final, final) for name, final in finals.items()}
        failed: SluiceError | None = None
        try:
            await each("upload.not_expired", ends)
        except SluiceError as error:  # of all finals, which keep no others
            failed = error
        await each("upload.not_expired", {name: partial(self._expire, upload) for name, upload in others.items()})
        if failed is not None:
            raise failed
        return len(due) >= DUE_AT_ONCE

    async def _expire(self, upload: Upload) -> None:
        active = await self._storage.last_activity(UploadKey(upload.tenant, upload.id))
        lives_until = active + self._ttl if active else None
        async with self._database.transaction() as repository:
            if lives_until is not None and lives_until > datetime.now(UTC):
                await repository.uploads.postpone([upload.id], lives_until)
            elif upload.partial and await repository.parts.needed(upload.tenant, upload.id):
                await repository.uploads.postpone([upload.id], datetime.now(UTC) + self._ttl)
            elif await repository.uploads.expire(upload):
                self._tell(upload)

    async def _expire_final(self, final: Upload) -> None:
        async with self._database.reading() as repository:
            found = await repository.parts.of(final.tenant, final.id)
        parts = {part.id: part for part in found if part is not None and part.state == UploadState.OPEN}
        whole = all(part is not None and part.id in parts for part in found)
        lives_until = await self._lives_until(final, list(parts.values()) if whole else [])
        async with self._database.transaction() as repository:
            if lives_until is not None:
                await repository.uploads.postpone([final.id, *parts], lives_until)
            elif await repository.uploads.expire(final):
                self._tell(final)

    async def _lives_until(self, final: Upload, parts: Sequence[Upload]) -> datetime | None:
        """None where its time is over. It ends with the first part that tells that it is not."""
        now = datetime.now(UTC)
        if final.expires_at > now:
            return final.expires_at
        last = final.created_at + LONGEST_LIFE * self._ttl
        for first in range(0, len(parts), AT_ONCE):
            keys = [UploadKey(part.tenant, part.id) for part in parts[first : first + AT_ONCE]]
            times = await asyncio.gather(*map(self._storage.last_activity, keys))
            lives_until = min(max((time + self._ttl for time in times if time), default=now), last)
            if lives_until > now:
                return lives_until
        return None

    def _tell(self, upload: Upload) -> None:
        self._context.metrics.swept.labels(reason="expired").inc()
        log.info("upload.expired", upload_id=upload.id)
