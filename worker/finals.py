"""Final uploads whose parts have all arrived, and that have no job: a gateway died between the last byte and it.

Nobody may ever look at such an upload again, and its client counts on the file. Gateways start all others at once.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from common.db.models import Upload
from common.db.uploads import Said
from common.finals import all_whole, announced, total
from common.queue import ring_of
from common.starting import wanted
from common.telemetry import get_logger
from worker.context import WorkerContext
from worker.side_by_side import each

log = get_logger(__name__)

AT_ONCE = 100  # final uploads that are looked at in a round; each costs a look at its first part, at the least
TURN = "finals"
YOUNG = 60.0  # seconds; until then its gateway, whose clock may be off, may be making room for it in the storage
REST = 3.0  # times SLUICE_SWEEP_SECONDS, between two rounds of all workers together


class Finals:
    """A step of the sweep."""

    def __init__(self, context: WorkerContext, name: str) -> None:
        """`name`: of this worker, for people who look at whose round it was."""
        self._context = context
        self._database = context.database
        self._name = name
        self._after: tuple[datetime, str] | None = None  # where the next round goes on

    async def start(self) -> None:
        """One round, if it is due and nobody else makes it."""
        seconds = REST * self._context.settings.worker.sweep_seconds
        async with self._database.transaction() as repository:
            if not await repository.passes.take(TURN, self._name, seconds):
                return
        async with self._database.reading() as repository:
            finals = await repository.parts.waiting_finals(self._after, AT_ONCE, YOUNG)
        self._after = (finals[-1].expires_at, finals[-1].id) if len(finals) == AT_ONCE else None
        await each("upload.not_started", {final.id: partial(self._start, final) for final in finals})

    async def _start(self, final: Upload) -> None:
        async with self._database.reading() as repository:
            parts = announced(await repository.parts.of(final.tenant, final.id))
        size = None if parts is None else total(parts)
        if parts is None or size is None or size > self._context.settings.limits.max_file_size:
            return
        if not await all_whole(self._context.storage, parts):
            return
        new = wanted(final, Said(size, final.description, final.meta, final.tags, final.digests))
        async with self._database.transaction() as repository:
            moved = await repository.uploads.start_all([new.start], wait=False)
            if not moved:
                return  # a gateway was faster
            await repository.jobs.insert_all([new.job])
        self._context.metrics.swept.labels(reason="parts_arrived").inc()
        log.info("upload.finalizing", upload_id=final.id, job_id=new.job.id)
        await self._context.bell.ring(ring_of(new.job))
