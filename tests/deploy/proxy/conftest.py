"""Stand-ins for gateways that note what reaches them through nginx."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest


@dataclass
class StandIn:
    """A gateway that is none: notes the head of each request, then answers 200 or cuts the connection.

    The answer is `first`, and `last` once `go_on` is set.
    """

    cuts: bool
    port: int = 0
    heads: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    first: bytes = b"the first half, "
    last: bytes = b"the last half"

    def header(self, name: str) -> list[str]:
        """The values of a header in the last request."""
        lines = (line.split(": ", 1) for line in self.heads[-1].split("\r\n")[1:] if ": " in line)
        return [value for key, value in lines if key.lower() == name.lower()]


@pytest.fixture
def stand_in() -> Callable[..., AbstractAsyncContextManager[StandIn]]:
    """Start a stand-in on a port of its own; with `cuts` it hangs up once it has the head, with `held` it answers
    the first half and waits for `go_on`."""

    @asynccontextmanager
    async def start(*, cuts: bool = False, held: bool = False) -> AsyncIterator[StandIn]:
        here = StandIn(cuts)
        if not held:
            here.go_on.set()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            here.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if not here.cuts:
                length = len(here.first + here.last)
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + here.first)
                await here.go_on.wait()
                writer.write(here.last)
            writer.close()

        async with await asyncio.start_server(accepted, "127.0.0.1", 0) as server:
            here.port = server.sockets[0].getsockname()[1]
            yield here

    return start
