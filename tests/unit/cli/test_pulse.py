"""When a process counts as hung, and when it only looks like it."""

import asyncio
import time
from collections.abc import Iterator
from itertools import chain, cycle, repeat

import pytest

from cli.part import Probe
from cli.pulse import LOOKS, STARTING, Pulse

SILENCE = 0.06
MISSED, ANSWERED = "does not answer", ""


class Looks:
    """A probe with given answers, and how often it was asked."""

    def __init__(self, answers: Iterator[str]) -> None:
        self.count = 0
        self._answers = answers

    async def __call__(self) -> str:
        self.count += 1
        return next(self._answers)


async def not_lost_within(looks: int, probe: Looks, pulse: Pulse) -> None:
    """Fails if the pulse is lost before so many looks."""
    watching = asyncio.create_task(pulse.lost(probe))
    while probe.count < looks and not watching.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert not watching.done()
    watching.cancel()


async def lost(probe: Probe) -> str:
    async with asyncio.timeout(20):
        return await Pulse(SILENCE).lost(probe)


async def test_so_many_looks_in_a_row_without_an_answer_are_a_hung_process() -> None:
    looks = Looks(chain([ANSWERED], repeat(MISSED)))
    assert await lost(looks) == MISSED
    assert looks.count == 1 + LOOKS


async def test_some_that_were_missed_are_none() -> None:
    misses = [MISSED] * (LOOKS - 1)
    await not_lost_within(5 * LOOKS, Looks(cycle([ANSWERED, *misses])), Pulse(SILENCE))


async def test_a_start_may_take_longer() -> None:
    looks = Looks(repeat(MISSED))
    await lost(looks)
    assert looks.count == STARTING * LOOKS


async def test_an_answer_that_does_not_come_is_none() -> None:
    first = True

    async def never() -> str:
        nonlocal first
        if not first:
            await asyncio.Event().wait()
        first = False
        return ANSWERED

    assert await lost(never) == "no answer within 0.01 s"


async def test_time_in_which_the_supervisor_itself_stood_still_does_not_count() -> None:
    async def slow() -> str:
        looks.count += 1
        if looks.count % 2:
            time.sleep(2 * SILENCE)  # noqa: ASYNC251  everything stands still, and longer than the whole bound
        await asyncio.sleep(0)
        return ANSWERED

    looks = Looks(repeat(ANSWERED))
    watching = asyncio.create_task(Pulse(SILENCE).lost(slow))
    while looks.count < LOOKS and not watching.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert not watching.done()
    watching.cancel()


@pytest.mark.parametrize("silence", [0, SILENCE])
async def test_without_a_bound_or_a_probe_nothing_is_noticed(silence: float) -> None:
    looks = Looks(repeat(MISSED))
    watching = asyncio.create_task(Pulse(silence).lost(None if silence else looks))
    await asyncio.sleep(STARTING * SILENCE * 2)
    assert not watching.done()
    assert looks.count == 0
    watching.cancel()
