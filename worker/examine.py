"""Reading what has to be read of a file so that `worker.attributes` can say what it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from common.db.models import File, Job
from common.signals import Signals
from common.storage.base import ObjectKey, Storage
from worker.attributes import HEAD_BYTES, TAIL_BYTES, Attributes, LineCounter, describe, line_counter_for
from worker.progress import Progress, reported
from worker.rows import UNKNOWN_TYPE


class Examiner:
    """See the module."""

    def __init__(self, storage: Storage, signals: Signals) -> None:
        self._storage = storage
        self._signals = signals

    async def reported(self, job: Job, file: File) -> Attributes:
        """The attributes of a file, with the progress of the job. Raises FileNotFoundError, StorageUnavailable."""
        async with reported(self._signals, job.id) as progress:
            return await self.attributes(file, progress)

    async def attributes(self, file: File, progress: Progress | None = None) -> Attributes:
        """The same, also of a file that nobody else knows of yet."""
        key = ObjectKey(file.tenant, file.id)
        head = await self._read(key, 0, min(HEAD_BYTES, file.size))
        rest = file.size - len(head)
        tail = await self._read(key, file.size - min(TAIL_BYTES, rest), min(TAIL_BYTES, rest)) if rest else b""
        attributes = await asyncio.to_thread(describe, head, tail, file.size, file.content_type, file.filename)
        counter = line_counter_for(attributes)
        if counter is not None:
            await self._count_lines(key, file.size, counter, progress or Progress())
            attributes.update(counter.result())  # type: ignore[typeddict-item]
        return attributes

    def of_content(self, content: bytes, content_type: str | None, filename: str) -> Attributes:
        """The same of a file whose bytes are all at hand. Blocks."""
        head = content[:HEAD_BYTES]
        rest = len(content) - len(head)
        tail = content[len(content) - min(TAIL_BYTES, rest) :] if rest else b""
        attributes = describe(head, tail, len(content), content_type or UNKNOWN_TYPE, filename)
        counter = line_counter_for(attributes)
        if counter is not None:
            counter.update(content)
            attributes.update(counter.result())  # type: ignore[typeddict-item]
        return attributes

    async def _count_lines(self, key: ObjectKey, size: int, counter: LineCounter, progress: Progress) -> None:
        async for piece in self._pieces(key, 0, size):
            await asyncio.to_thread(counter.update, piece)
            progress.done += len(piece)

    async def _read(self, key: ObjectKey, start: int, length: int) -> bytes:
        return b"".join([piece async for piece in self._pieces(key, start, length)])

    async def _pieces(self, key: ObjectKey, start: int, length: int) -> AsyncIterator[bytes]:
        if length == 0:
            return
        pieces = await self._storage.read(key, start, length)
        async with contextlib.AsyncExitStack() as open_file:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                open_file.push_async_callback(close)
            async for piece in pieces:
                yield piece
