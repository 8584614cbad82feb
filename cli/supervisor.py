"""Supervises the parts of an embedded stack: starts them in order, restarts what dies or hangs, stops them in order.

One event loop, one process per part. `keeper.py` looks after a single part; here is what concerns all of
them.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby

from cli.keeper import Backoff, Keeper, first_of
from cli.part import Part, PartFailedError
from cli.pulse import Pulse
from cli.run_folder import RunFolder


class StopRequestedError(Exception):
    """The operator asked for the stop while something was still being waited for."""


class Supervisor:
    """Starts and keeps parts; `say` gets each event as one line for the operator."""

    def __init__(
        self,
        folder: RunFolder,
        say: Callable[[str], None],
        backoff: Backoff | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self._folder = folder
        self._say = say
        self._backoff = backoff or Backoff()
        self._pulse = pulse or Pulse()
        self._keepers: list[Keeper] = []
        self._stop_requested = asyncio.Event()
        self._hurry = asyncio.Event()

    def request_stop(self) -> bool:
        """Ask for an orderly stop; asked again, every bound becomes one second. Whether this was the first time."""
        first = not self._stop_requested.is_set()
        if not first:
            self._hurry.set()
        self._stop_requested.set()
        return first

    async def start(self, parts: Sequence[Part], within: float) -> None:
        """Start `parts` together and return when each has been ready once, at most `within` seconds later.

        Raises PartFailedError if one cannot start or is late, StopRequestedError if the operator gave up
        waiting.
        """
        fresh = [self._keeper(part) for part in parts]
        self._keepers += fresh
        for keeper in fresh:
            keeper.start()
        everything = asyncio.create_task(all_ready(fresh))
        try:
            async with asyncio.timeout(within):
                await first_of(self._stop_requested, everything)
            if self._stop_requested.is_set():
                raise StopRequestedError
            everything.result()
        except TimeoutError:
            late = ", ".join(f"{keeper.part.name} ({keeper.obstacle})" for keeper in fresh if not keeper.was_ready)
            raise PartFailedError(f"not ready within {within:g} s: {late}") from None
        finally:
            everything.cancel()

    async def run_to_end(self, part: Part) -> None:
        """Run a part that ends by itself. Raises PartFailedError and StopRequestedError as `start`."""
        keeper = self._keeper(part)
        self._keepers.append(keeper)
        once = asyncio.create_task(keeper.live_once())
        await first_of(self._stop_requested, once)
        if self._stop_requested.is_set():
            await keeper.stop()
            await once
            raise StopRequestedError
        if code := once.result():
            raise PartFailedError(f"{part.name} {keeper.how(code)}")

    def _keeper(self, part: Part) -> Keeper:
        return Keeper(part, self._folder, self._say, self._backoff, self._hurry, self._pulse)

    async def wait_for_stop(self) -> None:
        """Keep everything running until `request_stop`."""
        await self._stop_requested.wait()

    async def stop(self) -> None:
        """Stop the lowest `stop_order` first, equal ones together; afterwards no process is left."""
        self._stop_requested.set()
        for keeper in self._keepers:
            keeper.retire()
        ordered = sorted(self._keepers, key=lambda keeper: keeper.part.stop_order)
        for _, together in groupby(ordered, key=lambda keeper: keeper.part.stop_order):
            await asyncio.gather(*(keeper.stop() for keeper in together))


async def all_ready(keepers: Sequence[Keeper]) -> None:
    """Return when all are ready. Raises PartFailedError as soon as one is given up."""
    await asyncio.gather(*(keeper.became_ready() for keeper in keepers))
