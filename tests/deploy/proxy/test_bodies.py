"""Request bodies through nginx: passed on as they come, of any length, slowly or over a long way."""

import asyncio
import hashlib
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fixtures.long_link import long_link
from tests.fixtures.nginx import nginx
from tests.fixtures.topology import Topology

MIB = 1024**2
PATIENCE = 20.0  # seconds for what takes milliseconds on an idle machine
DELAY = 0.025  # seconds in each direction: from one end of a continent to the other
WITHIN = 4.0  # seconds for 8 MiB at that distance; with the 64 KiB window of the default it takes 6.4

CreateUpload = Callable[..., dict[str, Any]]


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def head_of(upload: dict[str, Any], length: int, *more: str) -> bytes:
    lines = [f"PUT /v1/uploads/{upload['id']}/chunks/0 HTTP/1.1", "Host: sluice", f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer_on(connection: socket.socket) -> str:
    """The next head of an answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(4096)
        assert piece, f"the connection was closed after {received!r}"
        received += piece
    return received.decode()


def test_bytes_reach_a_gateway_before_the_client_has_sent_the_last(
    behind_nginx: Topology, upload: CreateUpload
) -> None:
    made = upload(4 * MIB)
    with connect(behind_nginx.proxy.url) as connection:
        connection.sendall(head_of(made, 4 * MIB) + bytes(3 * MIB))
        deadline = time.monotonic() + PATIENCE
        while not any(gateway.metric("sluice_intake_bytes") for gateway in behind_nginx.gateways):
            assert time.monotonic() < deadline, "nginx kept the bytes for itself"
            time.sleep(0.02)  # a gauge tells nobody that it has moved
        connection.sendall(bytes(MIB))

        assert answer_on(connection).startswith("HTTP/1.1 200")


def test_a_client_that_asks_first_is_told_to_continue(behind_nginx: Topology, upload: CreateUpload) -> None:
    made = upload(5)
    with connect(behind_nginx.proxy.url) as connection:
        connection.sendall(head_of(made, 5, "Expect: 100-continue"))
        asked = answer_on(connection)
        connection.sendall(b"hello")

        assert asked.startswith("HTTP/1.1 100")
        assert answer_on(connection).startswith("HTTP/1.1 200")


def test_a_body_of_unknown_length_passes(client: httpx.Client, upload: CreateUpload) -> None:
    made = upload(3 * MIB)
    answer = client.put(f"/v1/uploads/{made['id']}/chunks/0", content=(bytes(MIB) for _ in range(3)))
    assert answer.status_code == 200, answer.text


def test_a_chunk_may_be_large(client: httpx.Client, upload: CreateUpload) -> None:
    made = upload(48 * MIB)
    answer = client.put(f"/v1/uploads/{made['id']}/chunks/0", content=bytes(48 * MIB))
    assert answer.status_code == 200, answer.text


def test_a_large_body_that_is_refused_early_is_told_why(client: httpx.Client, upload: CreateUpload) -> None:
    made = upload(1 * MIB)

    answer = client.put(f"/v1/uploads/{made['id']}/chunks/0", content=bytes(48 * MIB))

    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "chunk_length"


def test_a_body_may_take_longer_than_the_timeout_as_long_as_it_moves(
    behind_nginx: Topology, upload: CreateUpload
) -> None:
    made = upload(12)
    ports = [gateway.port for gateway in behind_nginx.gateways]
    with nginx(ports, client_body_timeout="2s") as proxy, connect(proxy.url) as connection:
        connection.sendall(head_of(made, 12))
        for _ in range(12):
            connection.sendall(b"-")
            time.sleep(0.2)  # slowness is what is tested

        assert answer_on(connection).startswith("HTTP/1.1 200")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
async def test_a_long_way_does_not_cripple_an_upload_over_http_2(
    behind_nginx: Topology, upload: CreateUpload, tmp_path: Path
) -> None:
    made = upload(8 * MIB)
    (tmp_path / "chunk").write_bytes(bytes(8 * MIB))
    port = urlsplit(behind_nginx.proxy.tls_url).port
    assert port is not None
    async with long_link(port, DELAY) as far:
        command = ["curl", "-sS", "--noproxy", "*", "--http2", "--cacert", str(behind_nginx.proxy.certificate)]
        command += [
            "-T",
            str(tmp_path / "chunk"),
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{http_version} %{time_total}",
        ]
        process = await asyncio.create_subprocess_exec(
            *command, f"https://127.0.0.1:{far}/v1/uploads/{made['id']}/chunks/0", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()

    status, version, seconds = said.decode().split()
    assert (status, version) == ("200", "2")
    assert float(seconds) < WITHIN


def test_what_was_sent_through_the_proxy_is_what_is_read(
    client: httpx.Client, ready_file: Callable[[bytes], str]
) -> None:
    content = bytes(range(256)) * 12_345
    answer = client.get(f"/v1/files/{ready_file(content)}/content")
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(content).digest()
