"""Progress of a running job, sent through Redis at most twice a second."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from common.signals import Signals

REPORT_SECONDS = 0.5  # a person sees no difference below it


class Progress:
    """Bytes done so far. `set` may be called from any thread: it stores one int."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = 0

    def set(self, done: int) -> None:
        self.done = done


@contextlib.asynccontextmanager
async def reported(signals: Signals, job_id: str) -> AsyncIterator[Progress]:
    """A progress that is reported while the block runs."""
    progress = Progress()
    reporting: list[asyncio.Task[None]] = []
    # most jobs end before there is anything to report: no task for them
    start = asyncio.get_running_loop().call_later(
        REPORT_SECONDS, lambda: reporting.append(asyncio.create_task(_report(signals, job_id, progress)))
    )
    try:
        yield progress
    finally:
        start.cancel()
        for task in reporting:
            task.cancel()


async def _report(signals: Signals, job_id: str, progress: Progress) -> None:
    told = 0
    while True:
        if progress.done != told:
            told = progress.done
            await signals.report(job_id, told)
        await asyncio.sleep(REPORT_SECONDS)
