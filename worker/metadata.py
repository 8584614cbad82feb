"""Metadata: what a published file's own bytes tell about it, written to its attributes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from common.db.models import File, Job
from common.db.repository import Repository
from common.storage.base import ObjectKey
from common.telemetry import get_logger
from worker.attributes import HEAD_BYTES, TAIL_BYTES, Attributes, LineCounter, describe, line_counter_for
from worker.batch import ResultBatch
from worker.context import WorkerContext
from worker.lease import Hold
from worker.progress import Progress, reported

log = get_logger(__name__)


class Metadata:
    """The handler of `metadata` jobs."""

    def __init__(self, context: WorkerContext, batch: ResultBatch) -> None:
        self._context = context
        self._batch = batch

    async def run(self, job: Job, hold: Hold) -> None:
        file_id = job.file_id or ""
        file = await self._context.lookups.file(job.tenant, file_id)
        try:
            with self._context.tracer.span("examine"):
                attributes = None if file is None else await self._examine(job, file)
        except FileNotFoundError:
            attributes = None
        if attributes is None:
            log.info("file.deleted_before_metadata", file_id=file_id)
        with self._context.tracer.span("save"):
            await self._batch.submit(hold, file_id, attributes)

    async def on_failure(self, repository: Repository, job: Job, code: str) -> None:
        """The file stays as it is, ready and without attributes."""

    async def tidy(self, job: Job) -> None:
        """Nothing is left behind."""

    async def _examine(self, job: Job, file: File) -> Attributes:
        key = ObjectKey(file.tenant, file.id)
        head = await self._read(key, 0, min(HEAD_BYTES, file.size))
        rest = file.size - len(head)
        tail = await self._read(key, file.size - min(TAIL_BYTES, rest), min(TAIL_BYTES, rest)) if rest else b""
        attributes = await asyncio.to_thread(describe, head, tail, file.size, file.content_type, file.filename)
        counter = line_counter_for(attributes)
        if counter is not None:
            async with reported(self._context.signals, job.id) as progress:
                await self._count_lines(key, file.size, counter, progress)
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
        pieces = await self._context.storage.read(key, start, length)
        async with contextlib.AsyncExitStack() as open_file:
            close = getattr(pieces, "aclose", None)
            if close is not None:
                open_file.push_async_callback(close)
            async for piece in pieces:
                yield piece
