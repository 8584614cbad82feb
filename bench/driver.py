"""A client that costs next to nothing: raw sockets, `sendfile`, one thread per connection. Sizes are bytes."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


class Connection:
    """One keep-alive HTTP/1.1 connection. Reads answers with Content-Length only, which is all our servers send."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def request(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, bytes]:
        """Status and body of the answer."""
        head = self._head(method, path, len(body), headers)
        self._socket.sendall(head + body)
        return self._answer()

    def json(self, method: str, path: str, document: Any = None) -> Any:
        body = json.dumps(document).encode() if document is not None else b""
        status, answer = self.request(method, path, body, "Content-Type: application/json\r\n")
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        return json.loads(answer)

    def send_file(self, method: str, path: str, file: int, offset: int, length: int) -> None:
        """One request whose body goes from the file to the socket without passing through Python."""
        self._socket.sendall(self._head(method, path, length, "Content-Type: application/octet-stream\r\n"))
        while length:
            sent = os.sendfile(self._socket.fileno(), file, offset, length)
            offset, length = offset + sent, length - sent
        status, answer = self._answer()
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def _head(self, method: str, path: str, length: int, headers: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {length}\r\n{headers}\r\n".encode()

    def _answer(self) -> tuple[int, bytes]:
        status = int(self._reader.readline().split()[1])
        length = 0
        while line := self._reader.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._reader.read(length)


@dataclass(frozen=True)
class Piece:
    """One request: where it goes and which bytes of the file it brings."""

    path: str
    offset: int
    length: int


def send_pieces(url: str, file: int, pieces: Iterable[Piece], connections: int) -> None:
    """`PUT` all pieces over so many connections, each taking the next one that is left."""
    waiting = iter(pieces)
    lock = threading.Lock()

    def work(connection: Connection) -> None:
        while True:
            with lock:
                piece = next(waiting, None)
            if piece is None:
                return
            connection.send_file("PUT", piece.path, file, piece.offset, piece.length)

    in_threads(url, work, connections)


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
