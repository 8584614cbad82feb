"""A stand-in for the gateway on a loopback port, and clients that lose no time between attempts.

The stand-in exists to inject faults; the e2e suite runs the same client against the real gateway.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from client import AsyncClient, FileStateStore, RetryPolicy
from tests.unit.client.stand_in import StandIn

MakeFile = Callable[..., Path]


class Server:
    """One uvicorn in a thread for all tests; each test puts a stand-in of its own behind it."""

    def __init__(self) -> None:
        self.url = ""
        self.app: ASGIApp | None = None
        self._connections: dict[tuple[str, int], asyncio.Transport] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)

    def abort(self, request: Request) -> None:
        """Reset the connection of a request."""
        assert request.client is not None
        self._connections[(request.client.host, request.client.port)].abort()

    @contextmanager
    def running(self) -> Iterator[None]:
        connections = self._connections

        class Protocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                connections[transport.get_extra_info("peername")] = transport
                super().connection_made(transport)

        config = uvicorn.Config(self, http=Protocol, ws="none", lifespan="off", log_config=None, loop="asyncio")
        runner = uvicorn.Server(config)
        # The protocol is named because asyncio sets TCP_NODELAY only then; without it each answer waits 40 ms.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            thread = threading.Thread(target=runner.run, args=([listener],))
            thread.start()
            yield
            runner.should_exit = True
            thread.join(10)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server all stand-ins share."""
    one = Server()
    with one.running():
        yield one


@pytest.fixture
def stand_in(server: Server) -> Iterator[StandIn]:
    """An empty stand-in; its faults are set by the test."""
    one = StandIn()
    one.url = server.url
    server.app = one.app(server.abort)
    yield one
    for fault in one.faults:
        fault.released.set()


@pytest.fixture
def patience() -> RetryPolicy:
    """Five attempts without pauses worth mentioning."""
    return RetryPolicy(attempts=5, base=0.001, cap=0.002)


@pytest.fixture
async def client(stand_in: StandIn, patience: RetryPolicy) -> AsyncIterator[AsyncClient]:
    """A client of the stand-in."""
    async with AsyncClient(stand_in.url, retry=patience) as one:
        yield one


@pytest.fixture
def store(tmp_path: Path) -> FileStateStore:
    """Resume states in a folder of this test."""
    return FileStateStore(tmp_path / "state")


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """Writes a file of repeatable random bytes: `make_file(size, name="data.bin", seed=1)`."""

    def make(size: int, name: str = "data.bin", seed: int = 1) -> Path:
        path = tmp_path / name
        path.write_bytes(Random(seed).randbytes(size))
        return path

    return make
