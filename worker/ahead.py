"""Large uploads are hashed while they arrive: SHA-256 of a file is then known soon after its last chunk.

What was hashed lives in this process only. A worker that dies takes it along; whoever finalizes then reads all of it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable

from common.ahead import TAKEN_SECONDS, AheadNews
from common.db.lookups import Lookups
from common.errors import SluiceError
from common.states import UploadState
from common.storage.base import HashesAhead, Prefix, UploadKey
from common.tasks import cancelled
from common.telemetry import get_logger

log = get_logger(__name__)

MOST = 32  # uploads that one worker hashes at a time; a bound on its looks at journals
AT_ONCE = max(1, (os.cpu_count() or 1) // 2)  # threads: receiving must not wait for them
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds from a look that found nothing new to the next
IDLE_SECONDS = 600.0  # an upload without new bytes for so long is left; its next chunk begins anew
KEEP_SECONDS = TAKEN_SECONDS / 3
SHYNESS = 0.005  # seconds for each upload that is hashed already
CLOSE_SECONDS = 1.0


class _Arriving:
    """One upload that is being hashed."""

    def __init__(self, key: UploadKey) -> None:
        self.key = key
        self.prefix: Prefix | None = None  # until the row was seen
        self.stop = threading.Event()
        self.task: asyncio.Task[None] | None = None


class HashAhead:
    """See the module."""

    def __init__(self, storage: HashesAhead, lookups: Lookups, news: AheadNews, *, owner: str) -> None:
        self._storage = storage
        self._lookups = lookups
        self._news = news
        self._owner = owner
        self._uploads: dict[str, _Arriving] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, run_job: Callable[[str], Awaitable[None]]) -> None:
        """Until cancelled. `run_job` is called for a finalize that was rung here."""
        keeping = asyncio.create_task(self._keep())
        try:
            await self._news.listen(self._on_arriving, lambda job_id: self._begin(run_job(job_id)))
        finally:
            for upload in self._uploads.values():
                upload.stop.set()
            hashing = [upload.task for upload in self._uploads.values() if upload.task is not None]
            await cancelled([keeping, *hashing], CLOSE_SECONDS)
            if self._tasks:  # what runs here is drained by the runner; the rest is a word to Redis
                await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
            await cancelled(list(self._tasks), CLOSE_SECONDS)

    async def take(self, upload_id: str) -> Prefix | None:
        """What was hashed of an upload that is being finalized; it is not gone on with."""
        upload = self._uploads.pop(upload_id, None)
        if upload is None:
            return None
        upload.stop.set()
        if upload.task is not None:
            upload.task.cancel()
            await asyncio.wait([upload.task])
        self._begin(self._news.leave(upload_id))
        return upload.prefix

    def _on_arriving(self, tenant: str, upload_id: str) -> None:
        if upload_id not in self._uploads and len(self._uploads) < MOST:
            self._uploads[upload_id] = upload = _Arriving(UploadKey(tenant, upload_id))
            upload.task = asyncio.create_task(self._follow(upload))

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, upload: _Arriving) -> None:
        upload_id = upload.key.upload_id
        try:
            if await self._is_ours(upload):
                await self._hash(upload)
                await self._news.leave(upload_id)
        except (FileNotFoundError, SluiceError, OSError) as error:  # it has ended; or its seal will say what is wrong
            log.debug("upload.not_hashed_ahead", upload_id=upload_id, error=type(error).__name__)
            await self._news.leave(upload_id)
        finally:
            if self._uploads.get(upload_id) is upload:
                del self._uploads[upload_id]

    async def _is_ours(self, upload: _Arriving) -> bool:
        """Whoever has least to do asks first. What Redis tells is believed after a look at the row only."""
        await asyncio.sleep(SHYNESS * (len(self._uploads) - 1))
        if not await self._news.take(upload.key.upload_id, self._owner):
            return False
        row = await self._lookups.upload(upload.key.tenant, upload.key.upload_id)
        if row is not None and row.state == UploadState.OPEN:
            return True
        await self._news.leave(upload.key.upload_id)
        return False

    async def _hash(self, upload: _Arriving) -> None:
        """Until the upload is gone, or nothing has come for `IDLE_SECONDS`."""
        loop = asyncio.get_running_loop()
        upload.prefix = prefix = self._storage.prefix(upload.key)
        heard = loop.time()
        pause = FIRST_PAUSE
        while loop.time() - heard < IDLE_SECONDS:
            async with self._turns:
                found = await self._storage.hash_ahead(prefix, upload.stop)
            if found:
                heard, pause = loop.time(), FIRST_PAUSE
                continue
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            if self._uploads:
                await self._news.keep(list(self._uploads))
