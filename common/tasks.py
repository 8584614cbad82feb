"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

AGAIN = 0.1  # seconds between two cancellations of the same task


async def cancelled(tasks: Sequence[asyncio.Task[Any]], seconds: float) -> None:
    """Cancel tasks and wait for their ends, `seconds` at most; what they raise is of no use to anybody any more.

    More than one cancellation each if need be: redis-py loses one that comes while it connects or reads an answer.
    """
    deadline = time.monotonic() + seconds
    pending = {task for task in tasks if not task.done()}
    while pending and time.monotonic() < deadline:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()
