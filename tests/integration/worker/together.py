"""A worker that takes small files together as in production, and a seal of many that can be held or looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from common.db.models import Job
from common.states import JobState
from common.storage import Storage
from common.storage.base import SealedObject, SealPlan, SealWatch, UploadKey
from common.storage.local import LocalStorage
from common.storage.together import Sealed, Small
from tests.integration.worker.rig import Rig, with_settings

CONTENT = b"a,b\n1,2\n3,4\n"

Between = Callable[[], Awaitable[None]]


class Watched(LocalStorage):
    """The real storage; `groups` are the sizes of what was sealed at once. `between` happens after such a seal; with
    `hold` the seal waits for `go_on` before it begins."""

    def __init__(self, real: Storage, between: Between | None = None, *, hold: bool = False) -> None:
        self._real = cast("LocalStorage", real)
        self._between, self._hold = between, hold
        self.groups: list[int] = []
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    def __getattribute__(self, name: str) -> Any:
        own = {"_real", "_between", "_hold", "groups", "reached", "go_on", "seal", "seal_together"}
        return object.__getattribute__(self, name) if name in own else getattr(self._real, name)

    async def seal(self, upload: UploadKey, plan: SealPlan, watch: SealWatch) -> SealedObject:
        self.groups.append(1)
        return await self._real.seal(upload, plan, watch)

    async def seal_together(self, smalls: Sequence[Small]) -> list[Sealed | Exception]:
        self.groups.append(len(smalls))
        self.reached.set()
        if self._hold:
            await self.go_on.wait()
        outcomes = await self._real.seal_together(smalls)
        if self._between is not None:
            await self._between()
        return outcomes


def worker_over(rig: Rig, storage: Storage, **worker: Any) -> Rig:
    """A worker like `rig` whose storage is this one; keyword arguments are worker settings."""
    settings = with_settings(rig.settings, **worker)
    return Rig(settings, rig.database, storage, rig.redis, tracer=rig.tracer, describe_along=True)


async def run(rig: Rig, jobs: Sequence[Job]) -> list[Job]:
    """Let the worker hear one ring for all; the jobs afterwards."""
    await rig.parts.runner.run_jobs({}, [job.id for job in jobs])
    return [await rig.job(job.id) for job in jobs]


async def states(rig: Rig, jobs: Sequence[Job]) -> list[JobState]:
    return [JobState((await rig.job(job.id)).state) for job in jobs]
