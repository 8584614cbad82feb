"""The rest of a long body: read as it is asked for, never past its end, and let go of."""

import asyncio
import os
import socket
from collections.abc import Iterator
from typing import cast

import pytest
import uvloop

from gateway.longbody import LongBody

NONE_YET = 0.05  # seconds after which nothing more is expected


class PausedTransport:
    """What a transport that does not read is to a body: its socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def get_extra_info(self, name: str) -> socket.socket:
        assert name == "socket"
        return self._connection


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end of a connection, and the client's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


Ends = tuple[socket.socket, socket.socket]


def body_on(connection: socket.socket, left: int, room: int = 1 << 20) -> LongBody:
    return LongBody(cast("asyncio.Transport", PausedTransport(connection)), left, lambda: room)


def test_what_is_there_comes_in_one_piece(runner: asyncio.Runner, ends: Ends) -> None:
    async def taken() -> bytes:
        body = body_on(ends[0], 50_000)
        ends[1].sendall(bytes(10_000))
        ends[1].sendall(bytes(10_000))
        piece = await body.take()
        body.close()
        return piece

    assert runner.run(taken()) == bytes(20_000)


def test_no_piece_is_larger_than_there_is_room_for(runner: asyncio.Runner, ends: Ends) -> None:
    async def taken() -> list[int]:
        body = body_on(ends[0], 2500, room=1000)
        ends[1].sendall(bytes(2500))
        return [len(await body.take()) for _ in range(3)]

    assert runner.run(taken()) == [1000, 1000, 500]


def test_what_follows_the_body_is_left_in_the_socket(runner: asyncio.Runner, ends: Ends) -> None:
    async def taken() -> bytes:
        body = body_on(ends[0], 5)
        ends[1].sendall(b"12345next")
        return await body.take()

    assert runner.run(taken()) == b"12345"
    assert ends[0].recv(10) == b"next"


def test_a_piece_is_waited_for(runner: asyncio.Runner, ends: Ends) -> None:
    async def taken() -> bytes:
        body = body_on(ends[0], 5)
        waiting = asyncio.create_task(body.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        ends[1].sendall(b"12345")
        return await waiting

    assert runner.run(taken()) == b"12345"


def test_what_came_before_the_client_left_is_handed_out(runner: asyncio.Runner, ends: Ends) -> None:
    async def taken() -> list[bytes]:
        body = body_on(ends[0], 100)
        ends[1].sendall(b"12345")
        ends[1].close()
        return [await body.take() for _ in range(3)]

    assert runner.run(taken()) == [b"12345", b"", b""]


def test_closing_ends_the_waiting(runner: asyncio.Runner, ends: Ends) -> None:
    async def taken() -> bytes:
        body = body_on(ends[0], 5)
        waiting = asyncio.create_task(body.take())
        await asyncio.sleep(0)
        body.close()
        body.close()
        return await waiting

    assert runner.run(taken()) == b""


def test_a_wait_that_is_cancelled_can_be_begun_again(runner: asyncio.Runner, ends: Ends) -> None:
    async def taken() -> bytes:
        body = body_on(ends[0], 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(body.take(), NONE_YET)
        ends[1].sendall(b"12345")
        return await body.take()

    assert runner.run(taken()) == b"12345"


@pytest.mark.parametrize("whole", [True, False], ids=["at its end", "when the client left"])
def test_no_descriptor_stays_open(runner: asyncio.Runner, ends: Ends, whole: bool) -> None:
    async def take_all() -> None:
        body = body_on(ends[0], 5 if whole else 6)
        ends[1].sendall(b"12345")
        ends[1].close()
        await body.take()
        if not whole:
            await body.take()

    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - numbers, not paths
    runner.run(asyncio.sleep(0))  # the loop opens what it needs
    loops = os.listdir("/proc/self/fd")  # noqa: PTH208
    runner.run(take_all())
    assert len(os.listdir("/proc/self/fd")) == len(loops) - 1 >= len(before) - 1  # noqa: PTH208 - the client's is gone
