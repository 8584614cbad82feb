"""Appends when their gateway ends, by SIGTERM and by SIGKILL: over HTTP, by tus."""

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from common.db.migrate import migrate
from tests.integration.gateway.processes import gateway_process
from tests.integration.gateway.rig import Gateway, assert_problem, until
from tests.integration.gateway.wire import Wire

TUS = {"Tus-Resumable": "1.0.0"}
MIB = 1024 * 1024
PIECE = 16 * MIB  # what of a long append has a receipt each
GRACE = 4.0  # seconds for a drain that may take 2, on a machine that is busy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a database at the newest schema."""
    migrate(f"sqlite:///{tmp_path / 'sluice.db'}")
    return tmp_path


@pytest.fixture
def ports() -> list[int]:
    """Two that are free."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    found = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return found


def created(gateway: Gateway, size: int) -> str:
    """The address of a new upload."""
    answer = gateway.http.post("/tus/", headers={**TUS, "Upload-Length": str(size)})
    assert answer.status_code == 201, answer.text
    return httpx.URL(answer.headers["location"]).path


def offset_of(gateway: Gateway, address: str) -> int:
    return int(gateway.http.head(address, headers=TUS).headers["upload-offset"])


def begun(gateway: Gateway, address: str, content: bytes, length: int) -> Wire:
    """A request that says it brings `length` bytes, and has brought `content`."""
    wire = gateway.wire(30)
    wire.head(
        f"PATCH {address}", Tus_Resumable="1.0.0", Upload_Offset=0, Content_Length=length,
        Content_Type="application/offset+octet-stream",
    )  # fmt: skip
    wire.send(content)
    return wire


def arrived(gateway: Gateway) -> float:
    """Bytes that are in memory or stored."""
    return gateway.metric("sluice_intake_bytes") + gateway.metric("sluice_received_bytes_total")


def test_a_server_that_ends_keeps_what_has_arrived_and_says_so(folder: Path, redis_url: str, ports: list[int]) -> None:
    with gateway_process(folder, redis_url, ports[0], DRAIN_SECONDS="2") as (gateway, process):
        address = created(gateway, 10_000)
        with begun(gateway, address, b"x" * 5000, 10_000) as wire:
            until(lambda: arrived(gateway) == 5000)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            answer = wire.answer()
        assert process.wait(20) == 0
        assert time.monotonic() - began < 2 + GRACE
    assert_problem(answer, 503, "append_interrupted")
    assert answer.headers["retry-after"] == "1"
    with gateway_process(folder, redis_url, ports[1]) as (again, _):
        assert offset_of(again, address) == 5000


def test_a_killed_server_takes_the_last_piece_of_a_long_append_with_it_and_no_more(
    folder: Path, redis_url: str, ports: list[int]
) -> None:
    content = b"x" * (2 * PIECE + MIB)
    with gateway_process(folder, redis_url, ports[0], DURABILITY="chunk") as (gateway, process):
        address = created(gateway, 3 * PIECE)
        with begun(gateway, address, content, 3 * PIECE):
            until(lambda: arrived(gateway) >= len(content))
            process.kill()
            process.wait()
    with gateway_process(folder, redis_url, ports[1]) as (again, _):
        assert offset_of(again, address) == 2 * PIECE


@pytest.fixture
def two(folder: Path, redis_url: str, ports: list[int]) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways over one place."""
    with (
        gateway_process(folder, redis_url, ports[0]) as (one, _),
        gateway_process(folder, redis_url, ports[1], log_name="other.log") as (second, _),
    ):
        yield one, second


def test_a_client_that_is_back_at_another_gateway_does_not_wait(two: tuple[Gateway, Gateway]) -> None:
    one, other = two
    address = created(one, 10_000)
    with begun(one, address, b"x" * 5000, 10_000) as dead:
        until(lambda: arrived(one) == 5000)
        assert offset_of(other, address) == 5000
        assert "append.taken_over" not in (other.folder / "other.log").read_text()  # the one before let go when asked
        answer = other.http.patch(
            address,
            headers={**TUS, "Upload-Offset": "5000", "Content-Type": "application/offset+octet-stream"},
            content=b"y" * 5000,
        )
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, "10000")
        assert dead.answer().status_code == 503
