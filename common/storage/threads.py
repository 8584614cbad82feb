"""Blocking file calls in threads of their own, through aiofiles; what they raise is told in our errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from aiofiles.os import wrap

from common.storage.failures import translated

Result = TypeVar("Result")


class Threads:
    """A bounded pool of threads for file calls. Made once for a storage, closed with it."""

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    def start(self, function: Callable[..., Result], *args: Any) -> asyncio.Task[Result]:
        """Call `function` in a thread. The task must be awaited with `settled`, never cancelled."""
        return asyncio.create_task(_in_thread(self._pool, partial(translated, function, *args)))

    async def run(self, function: Callable[..., Result], *args: Any) -> Result:
        """Call `function` in a thread and wait until it has ended, also when the caller is cancelled."""
        return await settled(self.start(function, *args))

    async def close(self) -> None:
        """Wait for the calls that run and end the threads."""
        await asyncio.to_thread(self._pool.shutdown)


async def settled(work: asyncio.Future[Result], on_cancel: Callable[[], None] | None = None) -> Result:
    """The result of `work`. A cancellation is raised only after `work` has ended.

    A thread cannot be cancelled, and the descriptors that it uses must not be closed under it: the number could
    belong to another file by then. `on_cancel` may ask the thread to end early.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
            if on_cancel is not None:
                on_cancel()
    if cancelled is not None:
        if not work.cancelled():
            work.exception()  # looked at; the cancellation is what the caller gets
        raise cancelled
    return work.result()


async def _in_thread(pool: ThreadPoolExecutor, call: Callable[[], Result]) -> Result:
    result: Result = await wrap(call)(executor=pool)
    return result
