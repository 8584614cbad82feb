"""The health check of the containers: bash alone, an answer or a reason."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")


@asynccontextmanager
async def serve(answer: bytes | None) -> AsyncIterator[int]:
    """A port that reads a request head and gives this answer; with None it says nothing."""

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await reader.read()  # until the probe gives up
        else:
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(accepted, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def probe(root: Path, port: int, seconds: float = 20) -> tuple[int, str]:
    """Exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        root / "deploy" / "image" / "probe",
        str(port),
        "/readyz",
        env={"PATH": "/usr/bin:/bin", "PROBE_SECONDS": str(seconds)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_an_answer_of_200_is_healthy(root: Path) -> None:
    async with serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as port:
        assert await probe(root, port) == (0, "")


async def test_any_other_answer_is_unhealthy_and_its_reasons_are_told(root: Path) -> None:
    async with serve(b'HTTP/1.1 503 Service Unavailable\r\n\r\n{"reasons": ["draining"]}') as port:
        status, said = await probe(root, port)

    assert status == 1
    assert "/readyz: 503" in said
    assert "draining" in said


async def test_no_answer_in_time_is_unhealthy(root: Path) -> None:
    async with serve(None) as port:
        status, said = await probe(root, port, seconds=0.1)

    assert status == 1
    assert "no answer in time" in said


async def test_a_port_where_nobody_listens_is_unhealthy(root: Path, free_port: int) -> None:
    assert (await probe(root, free_port))[0] == 1
