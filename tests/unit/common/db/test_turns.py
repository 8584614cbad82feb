"""The line of SQLite writers: one at a time, in order, and nobody is stuck behind a dead process."""

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.db.turns import WriteTurn

PATIENCE = 1.0  # seconds
HOLDER = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


async def test_writers_of_one_process_come_in_the_order_in_which_they_asked(tmp_path: Path) -> None:
    turn = WriteTurn(str(tmp_path / "turn"), PATIENCE)
    order: list[int] = []

    async def write(number: int) -> None:
        async with turn:
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(write(number) for number in range(20)))

    assert order == list(range(20))
    turn.close()


async def test_two_processes_never_have_the_turn_together(tmp_path: Path) -> None:
    one, other = (
        WriteTurn(str(tmp_path / "turn"), PATIENCE),
        WriteTurn(str(tmp_path / "turn"), PATIENCE),
    )  # two descriptors: two owners
    inside = 0
    most = 0

    async def write(turn: WriteTurn) -> None:
        nonlocal inside, most
        async with turn:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(write(turn) for turn in (one, other) * 20))

    assert most == 1
    one.close()
    other.close()


async def test_a_killed_process_gives_its_turn_up(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    turn = WriteTurn(str(path), PATIENCE)
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), turn:
                pass

        holder.kill()
        async with asyncio.timeout(5), turn:
            pass
    turn.close()


async def test_giving_up_the_wait_leaves_the_line_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    turn = WriteTurn(str(path), PATIENCE)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), turn:
            pass
    os.close(descriptor)

    async with asyncio.timeout(5), turn:
        pass
    turn.close()


async def test_a_long_line_that_moves_is_waited_for_longer_than_the_patience(tmp_path: Path) -> None:
    turn = WriteTurn(str(tmp_path / "turn"), patience=0.05)
    written = 0

    async def write() -> None:
        nonlocal written
        async with turn:
            await asyncio.sleep(0.01)
            written += 1

    await asyncio.gather(*(write() for _ in range(20)))

    assert written == 20
    turn.close()


async def test_everybody_gives_up_when_the_line_does_not_move(tmp_path: Path) -> None:
    turn = WriteTurn(str(tmp_path / "turn"), patience=0.1)
    release = asyncio.Event()

    async def hang() -> None:
        async with turn:
            await release.wait()

    async def write() -> None:
        async with turn:
            pass

    holder = asyncio.create_task(hang())
    async with asyncio.timeout(2):
        outcomes = await asyncio.gather(*(write() for _ in range(10)), return_exceptions=True)

    assert all(isinstance(outcome, TimeoutError) for outcome in outcomes)
    release.set()
    await holder
    await write()  # and goes on as soon as it moves again
    turn.close()


async def test_a_process_with_a_long_line_does_not_take_one_turn_after_the_other(tmp_path: Path) -> None:
    busy, other = (WriteTurn(str(tmp_path / "turn"), PATIENCE) for _ in range(2))
    turns = 0
    stop = False

    async def write_on() -> None:
        nonlocal turns
        while not stop:
            async with busy:
                await asyncio.sleep(0)
                turns += 1

    line = [asyncio.create_task(write_on()) for _ in range(4)]
    waited = []
    for _ in range(200):
        await asyncio.sleep(0.001)  # the line goes on meanwhile
        asked = turns
        async with other:
            waited.append(turns - asked)
    stop = True
    await asyncio.gather(*line)

    assert sorted(waited)[180] <= 2  # hundreds where the line takes what it can get; a rare one is outrun all the same
    busy.close()
    other.close()


async def test_a_turn_that_comes_when_nobody_waits_any_more_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "turn"
    gone, other = WriteTurn(str(path), PATIENCE), WriteTurn(str(path), PATIENCE)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), gone:
            pass
    os.close(descriptor)
    while gone._turn._coming is not None:  # noqa: ASYNC110 - what a thread is about to do
        await asyncio.sleep(0.001)

    async with asyncio.timeout(5), other:
        pass
    gone.close()
    other.close()
