"""Tells workers of large uploads that are being filled, so that one of them hashes what has arrived."""

from __future__ import annotations

import asyncio

from common.ahead import AheadNews
from common.db.models import Upload
from common.settings import StorageSettings
from common.storage.base import HashesAhead, Storage
from common.tasks import cancelled

STOP_SECONDS = 1.0


class Herald:
    """Nobody waits for it; what it cannot tell now it tells with a later chunk."""

    def __init__(self, news: AheadNews, storage: Storage, settings: StorageSettings) -> None:
        serves = settings.verify == "read" and isinstance(storage, HashesAhead)
        self._least = settings.hash_ahead if serves else 0
        self._news = news
        self._telling: set[asyncio.Task[None]] = set()

    def tells_of(self, size: int) -> bool:
        """Whether an upload of `size` bytes is worth it."""
        return 0 < self._least <= size

    def announce(self, upload: Upload) -> None:
        """An upload is being filled; again every few seconds."""
        if upload.size is None or upload.direct or not self.tells_of(upload.size):
            return
        task = asyncio.create_task(self._news.tell(upload.tenant, upload.id))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        await cancelled(list(self._telling), STOP_SECONDS)
