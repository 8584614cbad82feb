"""Many finished metadata jobs in one transaction.

Each job waits here for its own outcome with its lease alive. So a worker that dies before the transaction loses
nothing: the jobs are simply not done, and run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.db.database import Database
from common.errors import DatabaseUnavailable, LeaseLost
from common.gather import Gather
from common.telemetry import Metrics
from worker.lease import Hold

MOST = 100  # results in one transaction


@dataclass(slots=True)
class Result:
    """What a metadata job found; `attributes` is None when the file is gone."""

    hold: Hold
    file_id: str
    attributes: Mapping[str, Any] | None


class ResultBatch:
    """Results that come while a transaction is on its way share the next one."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._results = Gather(self._write, MOST, shared=(DatabaseUnavailable,))

    async def submit(self, hold: Hold, file_id: str, attributes: Mapping[str, Any] | None) -> None:
        """Returns when the result is committed and the job has succeeded.

        Raises LeaseLost when another worker may have the job, and whatever the transaction of the batch raised.
        """
        hold.settling = True
        await self._results.ask(Result(hold, file_id, attributes))

    async def _write(self, results: Sequence[Result]) -> list[Exception | None]:
        async with self._database.transaction() as repository:
            held = await repository.jobs.succeed_all([result.hold.lease for result in results])
            await repository.files.set_attributes(
                (result.file_id, result.attributes)
                for result in results
                if result.attributes is not None and result.hold.lease.job_id in held
            )
        self._metrics.batch_rows.observe(len(held))
        lost = LeaseLost("The lease was lost before the attributes were written.")
        return [None if result.hold.lease.job_id in held else lost for result in results]
