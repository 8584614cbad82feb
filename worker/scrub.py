"""The scrub: reads ready files again, slowly, and marks those whose bytes are not what was published.

A task in every worker. A file is taken by one statement that also notes the time, so workers share the files; one that
is cut off in the middle of a file comes to it again after another period.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from common.db.models import File
from common.digests import CRC_64, SHA_256, StreamHasher, differing, parse_hex
from common.errors import SluiceError
from common.storage.base import ObjectKey
from common.telemetry import get_logger
from worker.context import WorkerContext

log = get_logger(__name__)

IDLE_SECONDS = (1.0, 60.0)  # between two looks for a file that is due: the least and the most
IDLE_PART = 20  # so many looks in one period


class Scrub:
    """One per worker. `SLUICE_SCRUB_PERIOD=0` turns it off."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._period = context.settings.worker.scrub_period
        self._rate = context.settings.worker.scrub_rate

    async def run(self) -> None:
        """Scrub for ever, or never. Ends by cancellation."""
        least, most = IDLE_SECONDS
        while self._period:
            if not await self.once():
                await asyncio.sleep(min(max(self._period / IDLE_PART, least), most))
        await asyncio.Event().wait()

    async def once(self) -> bool:
        """Read one file that is due; whether there was one."""
        try:
            async with self._context.database.transaction() as repository:
                file = await repository.files.start_scrub(self._period)
            if file is None:
                return False
            await self._examine(file)
        except SluiceError as error:
            log.warning("scrub.failed", code=error.code)
            return False
        return True

    async def _examine(self, file: File) -> None:
        expected = parse_hex(file.digests)
        algorithm = SHA_256 if SHA_256 in expected else CRC_64
        hasher = StreamHasher([algorithm])
        try:
            async with aclosing(self._paced(file)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(hasher.update, piece)
        except FileNotFoundError:
            await self._report(file, "the bytes are gone")
            return
        if differing({algorithm: expected[algorithm]}, hasher.digests()):
            await self._report(file, f"the {algorithm} differs")

    async def _paced(self, file: File) -> AsyncGenerator[bytes, None]:
        began, read = time.monotonic(), 0
        pieces = await self._context.storage.read(ObjectKey(file.tenant, file.id), 0, file.size)
        try:
            async for piece in pieces:
                yield piece
                read += len(piece)
                self._context.metrics.scrubbed_bytes.inc(len(piece))
                await asyncio.sleep(max(0.0, began + read / self._rate - time.monotonic()))
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    async def _report(self, file: File, what: str) -> None:
        """Nothing happens to a file that was deleted while it was read."""
        async with self._context.database.transaction() as repository:
            marked = await repository.files.mark_corrupt(file.id)
        if marked:
            self._context.metrics.files_corrupt.inc()
            log.error("file.corrupt", file_id=file.id, tenant=file.tenant, what=what)
