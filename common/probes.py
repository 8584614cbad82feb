"""Checks of what a process depends on, for its readiness: told in time, whatever they hang on.

A check that runs in a thread cannot be ended, and holds back its cancellation until the thread has ended: a storage
that hangs would hang whoever waits for that, and take a thread for each who asks. So nobody waits for it, and there is
one check at a time, shared by all who ask while it is on its way.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping

from common.tasks import cancelled

PROBE_SECONDS = 2.0  # for all checks together: a probe that waits longer is a failure to Kubernetes anyway

Check = Callable[[], Awaitable[object]]


class Probes:
    """Checks by name; one fails by what it raises."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def failing(self) -> dict[str, Exception]:
        """What failed, in the order of the checks, after `PROBE_SECONDS` at most: TimeoutError where nothing is known
        by then."""
        tasks = {name: self._task(name) for name in self._checks}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=PROBE_SECONDS)
        return {name: error for name, task in tasks.items() if (error := _outcome(task)) is not None}

    async def close(self, seconds: float) -> None:
        """End what is on its way, and wait for that, `seconds` at most."""
        await cancelled(list(self._running.values()), seconds)

    def _task(self, name: str) -> asyncio.Task[None]:
        task = self._running.get(name)
        if task is None or task.done():
            # a context of its own: what is logged in it belongs to no single caller
            task = asyncio.create_task(_run(self._checks[name]), name=f"probe-{name}", context=contextvars.Context())
            task.add_done_callback(_look_at)
            self._running[name] = task
        return task


async def _run(check: Check) -> None:
    await check()


def _outcome(task: asyncio.Task[None]) -> Exception | None:
    if not task.done():
        task.cancel()  # what can be ended ends now, and the next probe asks anew
        return TimeoutError("The check does not end.")
    if task.cancelled():  # by somebody who has waited longer
        return TimeoutError("The check has been given up.")
    error = task.exception()
    if error is None or isinstance(error, Exception):
        return error
    raise error


def _look_at(task: asyncio.Task[None]) -> None:
    """So that nobody is told that what it raised was never retrieved: those who asked may have gone."""
    if not task.cancelled():
        task.exception()
