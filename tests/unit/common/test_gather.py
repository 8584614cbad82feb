"""Callers share a call, and nothing else: not their errors, not their cancellation."""

import asyncio
from collections.abc import Sequence

import pytest

from common.gather import Gather


class Away(Exception):
    """What hits all at once."""


class Desk:
    """Answers numbers with their double; holds the first batch until `open` is set."""

    def __init__(self, most: int = 100) -> None:
        self.open = asyncio.Event()
        self.begun = asyncio.Event()
        self.batches: list[list[int]] = []
        self.gather = Gather(self.work, most, shared=(Away,))

    async def work(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(numbers))
        self.begun.set()
        if len(self.batches) == 1:
            await self.open.wait()
        if 13 in numbers:
            raise ValueError("13")
        if 99 in numbers:
            raise Away
        return [KeyError(number) if number == 7 else 2 * number for number in numbers]

    def ask(self, *numbers: int) -> list[asyncio.Task[int]]:
        return [asyncio.create_task(self.gather.ask(number)) for number in numbers]


async def test_what_comes_while_a_batch_is_on_its_way_shares_the_next() -> None:
    desk = Desk()
    first = desk.ask(1)
    await desk.begun.wait()
    others = desk.ask(2, 3, 4)
    await asyncio.sleep(0)
    desk.open.set()
    assert await asyncio.gather(*first, *others) == [2, 4, 6, 8]
    assert desk.batches == [[1], [2, 3, 4]]


async def test_callers_of_one_moment_share_the_first() -> None:
    desk = Desk()
    desk.open.set()
    assert await asyncio.gather(*desk.ask(1, 2, 3)) == [2, 4, 6]
    assert desk.batches == [[1, 2, 3]]


async def test_no_batch_is_larger_than_it_may_be() -> None:
    desk = Desk(most=2)
    desk.open.set()
    await asyncio.gather(*desk.ask(1, 2, 3, 4, 5))
    assert list(map(len, desk.batches)) == [2, 2, 1]


async def test_an_answer_that_is_an_error_goes_to_its_caller_alone() -> None:
    desk = Desk()
    desk.open.set()
    answers = await asyncio.gather(*desk.ask(6, 7, 8), return_exceptions=True)
    assert isinstance(answers[1], KeyError)
    assert answers[::2] == [12, 16]


async def test_where_a_batch_fails_each_is_tried_alone() -> None:
    desk = Desk()
    desk.open.set()
    answers = await asyncio.gather(*desk.ask(12, 13, 14), return_exceptions=True)
    assert isinstance(answers[1], ValueError)
    assert answers[::2] == [24, 28]
    assert desk.batches == [[12, 13, 14], [12], [13], [14]]


async def test_what_is_nobodys_fault_is_told_to_all_who_wait_and_costs_one_try() -> None:
    desk = Desk()
    first = desk.ask(99, 1)
    await desk.begun.wait()
    later = desk.ask(2, 3)
    await asyncio.sleep(0)
    desk.open.set()
    answers = await asyncio.gather(*first, *later, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Away] * 4
    assert desk.batches == [[99, 1]]
    assert await desk.gather.ask(5) == 10  # and the next one is served again


async def test_a_caller_that_goes_while_it_waits_is_left_out() -> None:
    desk = Desk()
    first = desk.ask(1)
    await desk.begun.wait()
    gone, stays = desk.ask(2, 3)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    desk.open.set()
    assert await asyncio.gather(*first, stays) == [2, 6]
    assert desk.batches == [[1], [3]]


async def test_a_caller_that_goes_while_its_batch_is_on_the_way_stops_nothing() -> None:
    desk = Desk()
    gone, stays = desk.ask(1, 2)
    await desk.begun.wait()
    gone.cancel()
    await asyncio.wait([gone])
    desk.open.set()
    assert await stays == 4


@pytest.mark.parametrize("count", [1, 50])
async def test_each_caller_gets_its_own_answer(count: int) -> None:
    desk = Desk(most=7)
    desk.open.set()
    numbers = [number for number in range(count) if number not in (7, 13)]
    assert await asyncio.gather(*desk.ask(*numbers)) == [2 * number for number in numbers]


async def test_nobody_waits_for_one_that_was_cancelled() -> None:
    desk = Desk()
    first = desk.ask(1)
    await desk.begun.wait()
    waiting = desk.ask(2)
    await asyncio.sleep(0)
    assert desk.gather._task is not None
    desk.gather._task.cancel()
    await asyncio.wait([*first, *waiting], timeout=5)
    assert all(task.cancelled() for task in (*first, *waiting))


async def test_who_asks_for_many_gets_an_answer_or_an_error_for_each() -> None:
    desk = Desk()
    desk.open.set()
    found = await desk.gather.ask_all([1, 7, 2])
    assert (found[0], found[2]) == (2, 4)
    assert isinstance(found[1], KeyError)
    assert desk.batches == [[1, 7, 2]]


async def test_many_share_batches_with_others_and_none_is_larger_than_it_may_be() -> None:
    desk = Desk(most=2)
    desk.open.set()
    other, found = await asyncio.gather(desk.gather.ask(1), desk.gather.ask_all([2, 3, 4]))
    assert (other, found) == (2, [4, 6, 8])
    assert desk.batches == [[1, 2], [3, 4]]


async def test_who_asks_for_none_asks_nobody() -> None:
    desk = Desk()
    assert await desk.gather.ask_all([]) == []
    assert desk.batches == []


async def test_what_is_nobodys_fault_is_told_for_each_of_many() -> None:
    desk = Desk()
    desk.open.set()
    assert [type(found) for found in await desk.gather.ask_all([1, 99, 2])] == [Away] * 3
