"""Metadata: what a published file's own bytes tell about it, written to its attributes."""

from __future__ import annotations

from common.db.models import Job
from common.db.repository import Repository
from common.telemetry import get_logger
from worker.batch import ResultBatch
from worker.context import WorkerContext
from worker.examine import Examiner
from worker.lease import Hold

log = get_logger(__name__)


class Metadata:
    """The handler of `metadata` jobs."""

    def __init__(self, context: WorkerContext, examiner: Examiner, batch: ResultBatch) -> None:
        self._context = context
        self._examiner = examiner
        self._batch = batch

    async def run(self, job: Job, hold: Hold) -> None:
        file_id = job.file_id or ""
        file = await self._context.lookups.file(job.tenant, file_id)
        try:
            with self._context.tracer.span("examine"):
                attributes = None if file is None else await self._examiner.reported(job, file)
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
