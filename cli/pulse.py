"""Notices that a process is there and does nothing: stopped, deadlocked, or cut off from its own event loop."""

import asyncio
from dataclasses import dataclass

from cli.part import Probe

LOOKS = 6  # without an answer, one after the other: one or two that were missed under load are no reason
STARTING = 4  # times as many before the first answer: a start reads a database and many files


@dataclass(frozen=True)
class Pulse:
    """Asks again and again; `silence` are the seconds without an answer after which a process counts as hung.

    It counts looks and no hours: a machine that was suspended, or a supervisor that was stopped, has lost at most one.
    With a silence of 0 nothing is ever noticed.
    """

    silence: float = 30.0

    async def lost(self, alive: Probe | None) -> str:
        """Return what the last look found when LOOKS of them in a row found something; never for a healthy process."""
        if alive is None or self.silence <= 0:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        step = self.silence / LOOKS
        left = LOOKS * STARTING
        while True:
            found = await self._look(alive, step)
            left = LOOKS if not found else left - 1
            if left == 0:
                return found

    async def _look(self, alive: Probe, step: float) -> str:
        """One look, which takes `step` seconds whatever it finds."""
        rest = asyncio.create_task(asyncio.sleep(step))
        try:
            async with asyncio.timeout(step):
                found = await alive()
        except TimeoutError:
            found = f"no answer within {step:g} s"
        await rest
        return found
