"""The client of the benchmark, against small servers of its own, and the process that it runs in."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.apart import Driver, DriverError
from bench.driver import Connection, Piece, send_pieces

RECEIVED: dict[str, bytes] = {}


class Echo(BaseHTTPRequestHandler):
    """Keeps what a `PUT` brings, answers `GET` with it; `/once` closes the connection after each answer."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        RECEIVED[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(RECEIVED.get(self.path, b"hello"))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.path == "/once":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Not on the terminal."""


@pytest.fixture
def url() -> Iterator[str]:
    RECEIVED.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_pieces_arrive_whole_over_several_connections(url: str, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)
    pieces = [Piece(f"/{start}", start, min(70_000, 300_000 - start)) for start in range(0, 300_000, 70_000)]
    with (tmp_path / "file").open("rb") as file:
        send_pieces(url, file.fileno(), pieces, 3)
    assert b"".join(RECEIVED[piece.path] for piece in pieces) == content


def test_a_connection_that_the_server_closes_is_opened_again(url: str) -> None:
    connection = Connection(url)
    assert [connection.request("GET", "/once") for _ in range(3)] == [(200, b"hello")] * 3
    connection.close()


def test_a_download_is_dropped_to_its_last_byte_and_the_connection_stays_good(url: str) -> None:
    RECEIVED["/large"] = bytes(3_000_000)
    connection = Connection(url)
    assert connection.drop("/large") == 3_000_000
    assert connection.request("GET", "/small") == (200, b"hello")
    connection.close()


def test_a_server_that_ignores_a_range_is_found_out(url: str) -> None:
    connection = Connection(url)
    with pytest.raises(RuntimeError, match="200 for Range"):
        connection.drop("/large", "Range: bytes=0-1\r\n")
    connection.close()


def test_the_driver_runs_apart_and_tells_what_it_cost(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    with Driver() as driver:
        done = driver.call("plain.dropped", url=url, path=str(tmp_path / "file"), connections=2, chunk=30_000)
    assert done.value["receive"] > 0
    assert done.cpu > 0


def test_a_call_that_fails_is_told_and_leaves_a_usable_driver(url: str) -> None:
    with Driver() as driver:
        with pytest.raises(DriverError, match="Connection refused"):
            driver.call("plain.latencies", url="http://127.0.0.1:1", paths=["/"])
        assert driver.call("plain.latencies", url=url, paths=["/a", "/b"]).value["count"] == 2


def test_a_call_that_hangs_ends_at_its_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, Driver() as driver:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DriverError, match=r"longer than 0\.5"):
            driver.call("plain.latencies", limit=0.5, url=url, paths=["/"])
