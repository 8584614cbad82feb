"""What the sweep does to many things at once: each by itself, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from common.errors import SluiceError
from common.telemetry import get_logger

log = get_logger(__name__)

AT_ONCE = 8  # calls of the storage


async def each(event: str, actions: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    """One that fails does not keep the others, nor hold a place among the first for ever: it is logged as `event` with
    the name that it has in `actions`. Raises the error of the last where nothing could be done at all."""
    places, errors = asyncio.Semaphore(AT_ONCE), list[SluiceError]()

    async def act(subject: str, action: Callable[[], Awaitable[None]]) -> None:
        async with places:
            try:
                await action()
            except SluiceError as error:
                log.warning("sweep.item_failed", what=event, subject=subject, code=error.code, detail=error.detail)
                errors.append(error)

    try:
        async with asyncio.TaskGroup() as group:
            for subject, action in actions.items():
                group.create_task(act(subject, action))
    except BaseExceptionGroup as broken:  # what no storage should raise ends the step, as from a loop
        raise broken.exceptions[0] from None
    if errors and len(errors) == len(actions):
        raise errors[-1]
