"""The proxy does to a connection what it says."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

import pytest

from tests.fixtures.bad_link import BadLink, Manner, any_manner

DATA = bytes(range(256)) * 400
OpenLink = Callable[[Manner], AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Echo:
    """A server that sends everything back, unless `quiet`; it notes how bytes came and how each connection ended."""

    def __init__(self) -> None:
        self.quiet = False
        self.pieces: list[int] = []
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(1 << 20):
                self.pieces.append(len(piece))
                if not self.quiet:
                    writer.write(piece)
                    await writer.drain()
            self.ended.put_nowait("closed")
        except ConnectionResetError:
            self.ended.put_nowait("reset")
        finally:
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, int]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    yield echo, server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
def through(echo: tuple[Echo, int]) -> OpenLink:
    """Open a connection to the echo through a link of the given manner."""

    @asynccontextmanager
    async def opened(manner: Manner) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with BadLink("127.0.0.1", echo[1], seed=1, draw=lambda _: manner) as link:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(link.url.rpartition(":")[2]))
            try:
                yield reader, writer
            finally:
                writer.close()

    return opened


@pytest.mark.parametrize("manner", [Manner(), Manner(slices=7), Manner(latency=0.01)])
async def test_what_is_not_broken_arrives_whole(through: OpenLink, manner: Manner) -> None:
    async with through(manner) as (reader, writer):
        writer.write(DATA)
        assert await reader.readexactly(len(DATA)) == DATA


async def test_slices_are_segments_of_their_own(through: OpenLink, echo: tuple[Echo, int]) -> None:
    async with through(Manner(slices=10)) as (reader, writer):
        writer.write(DATA[:1000])
        await reader.readexactly(1000)
    assert max(echo[0].pieces) < 1000


async def test_a_slow_link_takes_its_time(through: OpenLink) -> None:
    began = time.monotonic()
    async with through(Manner(rate=50_000)) as (reader, writer):
        writer.write(DATA[:15_000])
        await reader.readexactly(15_000)
    assert time.monotonic() - began >= 0.29


@pytest.mark.parametrize(("reset", "ending"), [(False, "closed"), (True, "reset")])
async def test_a_connection_ends_in_the_middle(
    through: OpenLink, echo: tuple[Echo, int], reset: bool, ending: str
) -> None:
    echo[0].quiet = True  # a close with unread answers would be a reset in any case
    async with through(Manner(ends_at=30_000, reset=reset)) as (_, writer):
        writer.write(DATA)
        assert await echo[0].ended.get() == ending
    assert sum(echo[0].pieces) == 30_000 or (reset and sum(echo[0].pieces) < 30_000)


async def test_a_black_hole_lets_go_after_its_seconds(through: OpenLink) -> None:
    began = time.monotonic()
    async with through(Manner(silent_at=1, silence=0.3)) as (reader, writer):
        writer.write(DATA)
        assert await reader.readexactly(len(DATA)) == DATA
    assert time.monotonic() - began >= 0.29


def test_a_seed_gives_the_same_connections() -> None:
    one, other = Random(7), Random(7)
    assert [any_manner(one) for _ in range(50)] == [any_manner(other) for _ in range(50)]


def test_all_manners_are_drawn() -> None:
    random = Random(7)
    drawn = {any_manner(random).name for _ in range(200)}
    assert drawn == {"good", "late", "slow", "sliced", "cut", "reset", "black hole"}


async def test_a_healed_link_has_only_good_connections(echo: tuple[Echo, int]) -> None:
    async with BadLink("127.0.0.1", echo[1], seed=1, draw=lambda _: Manner("cut", ends_at=1)) as link:
        link.heal()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(link.url.rpartition(":")[2]))
        writer.write(DATA)
        assert await reader.readexactly(len(DATA)) == DATA
        writer.close()
    assert dict(link.drawn) == {"good": 1}
