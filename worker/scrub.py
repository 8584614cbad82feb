"""The scrub: reads published files again, slowly, and marks those whose bytes are not what was published.

A task in every worker. A file is taken by one statement that also notes the time, so workers share the files. A file
that was marked is read again like any other: when its bytes were put back it is ready again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from common.db.models import File
from common.digests import CRC_64, SHA_256, StreamHasher, differing, parse_hex
from common.errors import SluiceError
from common.states import FileState
from common.storage.base import ObjectKey
from common.telemetry import get_logger
from worker.context import WorkerContext

log = get_logger(__name__)

IDLE_SECONDS = (1.0, 60.0)  # between two looks for a file that is due: the least and the most
IDLE_PART = 20  # so many looks in one period
LEAST_CHARGE = 64 * 1024  # bytes that a file counts for at least: its row costs a transaction whatever its size


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
        """Read one file that is due; whether there was one. What goes wrong is logged: the file comes again."""
        file = None
        try:
            async with self._context.database.transaction() as repository:
                file = await repository.files.start_scrub(self._period)
            if file is not None:
                await self._settle(file, await self._damage(file))
                return True
        except SluiceError as error:
            log.warning("scrub.failed", code=error.code, file_id=file and file.id)
        except Exception:
            log.exception("scrub.failed", file_id=file and file.id)
        return False

    async def _damage(self, file: File) -> str | None:
        """What is wrong with the bytes; None: they are those that were published."""
        expected = parse_hex(file.digests)
        algorithm = SHA_256 if SHA_256 in expected else CRC_64
        hasher = StreamHasher([algorithm])
        try:
            async with aclosing(self._paced(file)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(hasher.update, piece)
        except FileNotFoundError:
            return "the bytes are gone, or some of them"
        wrong = differing({algorithm: expected[algorithm]}, hasher.digests())
        return f"the {algorithm} differs" if wrong else None

    async def _paced(self, file: File) -> AsyncGenerator[bytes, None]:
        began, read = time.monotonic(), 0
        pieces = await self._context.storage.read(ObjectKey(file.tenant, file.id), 0, file.size)
        try:
            async for piece in pieces:
                yield piece
                read += len(piece)
                self._context.metrics.scrubbed_bytes.inc(len(piece))
                await self._pause(began, read)
            await self._pause(began, LEAST_CHARGE)
        finally:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    async def _pause(self, began: float, read: int) -> None:
        """Wait until `read` bytes may have been read since `began`."""
        await asyncio.sleep(max(0.0, began + read / self._rate - time.monotonic()))

    async def _settle(self, file: File, damage: str | None) -> None:
        """Nothing happens to a file that is marked as it should be, or was deleted while it was read."""
        if damage is None and file.state == FileState.READY:
            return
        async with self._context.database.transaction() as repository:
            mark = repository.files.mark_sound if damage is None else repository.files.mark_corrupt
            changed = await mark(file.id)
        if not changed:
            return
        if damage is None:
            log.warning("file.sound_again", file_id=file.id, tenant=file.tenant)
        else:
            self._context.metrics.files_corrupt.inc()
            log.error("file.corrupt", file_id=file.id, tenant=file.tenant, what=damage)
