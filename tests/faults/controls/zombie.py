"""A worker that stops past its lease and comes back: what it may still do. Runs in a child of the nursery."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

from common.db.models import Job
from common.states import JobKind
from common.storage.base import SealedObject
from tests.faults.points import script
from tests.faults.points.by_hand import ByHand, open_worker

Where = Literal["before_seal", "after_seal"]


class Pause:
    """Stops the seals of one worker where it is told to, until `go_on`."""

    def __init__(self, by_hand: ByHand, where: Where) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self._where = where
        self._seal = by_hand.context.storage.seal
        by_hand.context.storage.seal = self._paused  # type: ignore[assignment, method-assign]

    async def _paused(self, *arguments: Any) -> SealedObject:
        if self._where == "before_seal":
            await self._wait()
        sealed = await self._seal(*arguments)
        if self._where == "after_seal":
            await self._wait()
        return sealed

    async def _wait(self) -> None:
        self.reached.set()
        await self.go_on.wait()


async def zombie(folder: Path, where: Where) -> None:
    """One worker pauses; another takes the job over; the first goes on. What was seen goes to `zombie.json`.

    `before_seal`: the other has finished and tidied when the first goes on, which then finds nothing to seal.
    `after_seal`: the other is still at it when the first wants to publish.
    """
    settings = script.settings_of(folder)
    async with open_worker(settings) as first, open_worker(settings) as second:
        paused = Pause(first, where)
        first_work = asyncio.create_task(first.run_due(JobKind.FINALIZE))
        await paused.reached.wait()
        await second.let_time_pass()
        await second.parts.sweep.take_back_lost()
        other = Pause(second, "before_seal")
        second_work = asyncio.create_task(second.run_due(JobKind.FINALIZE))
        await other.reached.wait()
        if where == "before_seal":
            other.go_on.set()
            await second_work
        between = await _look(second)
        paused.go_on.set()
        await first_work
        after = await _look(second)
        other.go_on.set()
        await second_work
        seen = {"between": between, "after": after, "refused": _refused(first)}
    (folder / "zombie.json").write_text(json.dumps(seen))


async def _look(by_hand: ByHand) -> dict[str, Any]:
    """The finalize job as everybody sees it."""
    async with by_hand.context.database.reading() as repository:
        page = await repository.jobs.page(script.TENANT, state=None, kind=JobKind.FINALIZE, cursor=None, limit=2)
    [job] = page.items
    return _shown(job)


def _shown(job: Job) -> dict[str, Any]:
    return {"state": job.state, "fence": job.fence, "error": job.error_code, "finished": str(job.finished_at)}


def _refused(by_hand: ByHand) -> float:
    return by_hand.context.metrics.registry.get_sample_value("sluice_lease_lost_total") or 0.0
