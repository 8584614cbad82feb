"""A client that costs next to nothing: raw sockets, `sendfile`, one thread per connection. Sizes are bytes."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

SECONDS = 120.0  # a server that is silent for longer has failed
BUFFER = 1024**2  # bytes taken from a download at once

Item = TypeVar("Item")


@dataclass(frozen=True)
class Answer:
    """Status, the headers with lower-case names, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One keep-alive HTTP/1.1 connection; opened again when the server has closed it between requests."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._open()

    def _open(self) -> None:
        host, port = self._address.hostname or "127.0.0.1", self._address.port or 80
        self.socket = socket.create_connection((host, port), timeout=SECONDS)
        self.socket.settimeout(None)  # sendfile wants a blocking socket; the kernel keeps the time
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(SECONDS), 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self.socket.makefile("rb")
        self._left = False

    def ask(self, method: str, path: str, body: bytes = b"", headers: str = "") -> Answer:
        """Send one request, read its answer."""
        self._begin(self.head(method, path, len(body), headers) + body)
        return self._answer(method)

    def request(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, bytes]:
        """Status and body of the answer."""
        answer = self.ask(method, path, body, headers)
        return answer.status, answer.body

    def json(self, method: str, path: str, document: Any = None) -> Any:
        body = json.dumps(document).encode() if document is not None else b""
        answer = self.ask(method, path, body, "Content-Type: application/json\r\n")
        return json.loads(expect(answer, method, path).body)

    def send_file(
        self, method: str, path: str, file: int, offset: int, length: int, headers: str | None = None
    ) -> Answer:
        """One request whose body goes from the file to the socket without passing through Python."""
        more = "Content-Type: application/octet-stream\r\n" if headers is None else headers
        self._begin(self.head(method, path, length, more))
        while length:
            sent = os.sendfile(self.socket.fileno(), file, offset, length)
            offset, length = offset + sent, length - sent
        return expect(self._answer(method), method, path)

    def drop(self, path: str, headers: str = "") -> int:
        """`GET` and let the kernel throw the body away (MSG_TRUNC, tcp(7)); its length."""
        self._begin(self.head("GET", path, 0, headers))
        answer, length = self._read_head()
        if length is None or answer.status != (206 if headers else 200):
            raise RuntimeError(f"GET {path}: {answer.status} for {headers.strip() or 'the whole'}, length {length}")
        count, buffer = length - len(self._reader.read1(min(length, BUFFER))), bytearray(BUFFER)  # type: ignore[attr-defined]
        while count:
            dropped = self.socket.recv_into(buffer, min(count, BUFFER), socket.MSG_TRUNC)
            if not dropped:
                raise RuntimeError(f"GET {path}: {count} bytes are missing")
            count -= dropped
        return length

    def close(self) -> None:
        self._reader.close()
        self.socket.close()

    def head(self, method: str, path: str, length: int, headers: str) -> bytes:
        """Request line and headers."""
        host = self._address.netloc
        return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n".encode()

    def _begin(self, head: bytes) -> None:
        if self._left:
            self.close()
            self._open()
        self.socket.sendall(head)

    def _answer(self, method: str) -> Answer:
        answer, length = self._read_head()
        if method == "HEAD" or answer.status in (204, 304):
            return answer
        if answer.headers.get("transfer-encoding") == "chunked":
            return Answer(answer.status, answer.headers, b"".join(self._chunks()))
        return Answer(answer.status, answer.headers, self._reader.read(length or 0))

    def _read_head(self) -> tuple[Answer, int | None]:
        line = self._reader.readline()
        if not line:
            raise ConnectionError("the server closed the connection in place of an answer")
        status, headers = int(line.split()[1]), {}
        while line := self._reader.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        self._left = headers.get("connection", "").lower() == "close"
        length = headers.get("content-length")
        return Answer(status, headers, b""), int(length) if length is not None else None

    def _chunks(self) -> Iterable[bytes]:
        while size := int(self._reader.readline().split(b";")[0], 16):
            yield self._reader.read(size)
            self._reader.readline()
        self._reader.readline()


def expect(answer: Answer, method: str, path: str) -> Answer:
    """The answer. Raises RuntimeError unless it is a success."""
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
    return answer


@dataclass(frozen=True)
class Piece:
    """One request: where it goes and which bytes of the file it brings."""

    path: str
    offset: int
    length: int


def pieces(prefix: str, size: int, chunk: int) -> list[Piece]:
    """The chunks of a file, numbered from 0 behind the prefix."""
    return [
        Piece(f"{prefix}{index}", offset, min(chunk, size - offset))
        for index, offset in enumerate(range(0, size, chunk))
    ]


def send_pieces(url: str, file: int, pieces: Iterable[Piece], connections: int) -> None:
    """`PUT` all pieces over so many connections, each taking the next one that is left."""
    share(url, pieces, lambda connection, piece: put(connection, file, piece), connections)


def put(connection: Connection, file: int, piece: Piece) -> None:
    connection.send_file("PUT", piece.path, file, piece.offset, piece.length)


def share(url: str, items: Iterable[Item], work: Callable[[Connection, Item], object], connections: int) -> None:
    """Each connection takes the next item that is left, until there is none."""
    waiting = iter(items)
    lock = threading.Lock()

    def run(connection: Connection) -> None:
        while True:
            with lock:
                item = next(waiting, None)
            if item is None:
                return
            work(connection, item)

    in_threads(url, run, connections)


def in_threads(url: str, work: Callable[[Connection], None], connections: int) -> None:
    """Run `work` once per connection, all at once; the first error is raised again."""
    errors: list[Exception] = []

    def run(connection: Connection) -> None:
        try:
            work(connection)
        except Exception as error:  # noqa: BLE001 - it is raised again where it is seen
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(Connection(url),)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
