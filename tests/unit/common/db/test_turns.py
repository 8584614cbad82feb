"""The line of SQLite writers: one at a time, in order, and nobody is stuck behind a dead process."""

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.db.turns import WriteTurn

HOLDER = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


async def test_writers_of_one_process_come_in_the_order_in_which_they_asked(tmp_path: Path) -> None:
    turn = WriteTurn(str(tmp_path / "turn"))
    order: list[int] = []

    async def write(number: int) -> None:
        async with turn:
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(write(number) for number in range(20)))

    assert order == list(range(20))
    turn.close()


async def test_two_processes_never_have_the_turn_together(tmp_path: Path) -> None:
    one, other = WriteTurn(str(tmp_path / "turn")), WriteTurn(str(tmp_path / "turn"))  # two descriptors: two owners
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
    turn = WriteTurn(str(path))
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
    turn = WriteTurn(str(path))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), turn:
            pass
    os.close(descriptor)

    async with asyncio.timeout(5), turn:
        pass
    turn.close()
