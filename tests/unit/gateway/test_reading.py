"""The reader between a socket and the protocol: it brings what there is room for, and nothing else."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from gateway.reading import reader_of


class Cup:
    """A taker with room for `room_left` bytes."""

    def __init__(self) -> None:
        self.room_left = 100
        self.taken: list[bytes] = []
        self.lost = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def eof_received(self) -> None: ...

    def room(self) -> int:
        return self.room_left

    def data_received(self, data: memoryview) -> None:
        self.taken.append(bytes(data))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


async def poured(data: bytes, rooms: list[int]) -> list[bytes]:
    """What a cup got of `data` while it had these rooms, one for each read, the last for all further ones."""
    cup = Cup()
    left = iter(rooms)

    def room() -> int:
        cup.room_left = next(left, cup.room_left)
        return cup.room_left

    cup.room = room  # type: ignore[method-assign]
    server = await asyncio.get_running_loop().create_server(reader_of(lambda: cup), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(data)
        writer.close()
        async with asyncio.timeout(20):
            await cup.lost.wait()
    return cup.taken


def test_everything_arrives_and_never_more_at_a_time_than_there_is_room_for(runner: asyncio.Runner) -> None:
    data = bytes(range(256)) * 64
    taken = runner.run(poured(data, [1000, 10, 5000]))
    assert b"".join(taken) == data
    assert len(taken[0]) <= 1000
    assert len(taken[1]) <= 10
    assert max(map(len, taken)) <= 5000


def test_what_one_connection_got_is_not_changed_by_the_next_one(runner: asyncio.Runner) -> None:
    async def two() -> list[bytes]:
        make = reader_of(Cup)
        first, second = make(), make()
        for reader, data in ((first, b"first"), (second, b"other")):
            reader.get_buffer(-1)[: len(data)] = data
            reader.buffer_updated(len(data))
        return [piece for reader in (first, second) for piece in reader._taker.taken]  # type: ignore[attr-defined]

    assert runner.run(two()) == [b"first", b"other"]
