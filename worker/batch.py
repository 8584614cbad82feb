"""Many finished metadata jobs in one transaction.

Each job waits here for its own outcome with its lease alive. So a worker that dies with a full buffer loses nothing:
the jobs are simply not done, and run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.db.database import Database
from common.errors import LeaseLost
from common.telemetry import Metrics
from worker.lease import Hold


@dataclass(slots=True)
class Result:
    """What a metadata job found; `attributes` is None when the file is gone."""

    hold: Hold
    file_id: str
    attributes: Mapping[str, Any] | None
    written: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ResultBatch:
    """Collects results until there are `size` of them or the first has waited `seconds`."""

    def __init__(self, database: Database, metrics: Metrics, *, size: int, seconds: float) -> None:
        self._database = database
        self._metrics = metrics
        self._size = size
        self._seconds = seconds
        self._waiting: list[Result] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writers: set[asyncio.Task[None]] = set()

    async def submit(self, hold: Hold, file_id: str, attributes: Mapping[str, Any] | None) -> None:
        """Returns when the result is committed and the job has succeeded.

        Raises LeaseLost when another worker may have the job, and whatever the transaction of the batch raised.
        """
        hold.settling = True
        result = Result(hold, file_id, attributes)
        self._waiting.append(result)
        if len(self._waiting) >= self._size:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self.flush)
        await result.written

    def flush(self) -> None:
        """Start to write what has been collected."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        results = [result for result in self._waiting if not result.written.done()]  # done: its job was cancelled
        self._waiting = []
        if results:
            writer = asyncio.create_task(self._write(results))
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)

    async def close(self) -> None:
        """Wait for the transactions on their way."""
        self.flush()
        await asyncio.gather(*self._writers)

    async def _write(self, results: list[Result]) -> None:
        try:
            held = await self._commit(results)
        except Exception as error:  # noqa: BLE001 - every waiting job gets it and decides
            for result in results:
                _tell(result, error)
            return
        self._metrics.batch_rows.observe(len(held))
        for result in results:
            lost = LeaseLost("The lease was lost before the attributes were written.")
            _tell(result, None if result.hold.lease.job_id in held else lost)

    async def _commit(self, results: list[Result]) -> set[str]:
        async with self._database.transaction() as repository:
            held = await repository.jobs.succeed_all([result.hold.lease for result in results])
            await repository.files.set_attributes(
                (result.file_id, result.attributes)
                for result in results
                if result.attributes is not None and result.hold.lease.job_id in held
            )
        return held


def _tell(result: Result, error: Exception | None) -> None:
    if result.written.done():
        return
    if error is None:
        result.written.set_result(None)
    else:
        result.written.set_exception(error)
