"""HTTP/1.1 by hand: half requests, wrong requests, and answers as they come over the wire."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

import httpx


class Wire:
    """One TCP connection. Reads time out with TimeoutError after `timeout` seconds."""

    def __init__(self, port: int, timeout: float) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def head(self, request_line: str, **fields: str | int) -> None:
        """Send a request head; `Content_Length=5` is `Content-Length: 5`."""
        lines = [f"{request_line} HTTP/1.1", "Host: test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, *, to_head: bool = False) -> httpx.Response:
        """The next final or interim answer with its whole body."""
        head = self._until(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines if line)]
        status = int(status_line.split()[1])
        given = httpx.Headers(fields)
        body = b"" if to_head or status in (100, 204, 304) else self._body(given)
        given.pop("transfer-encoding", None)
        return httpx.Response(status, headers=given, content=body)

    def rest(self) -> bytes:
        """Everything until the other side closes; empty when it closed already. A reset is a close."""
        data, self._buffer = self._buffer, b""
        try:
            while piece := self.socket.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        return data

    def _body(self, fields: httpx.Headers) -> bytes:
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._until(b"\r\n"), 16):
                body += self._exactly(size)
                self._exactly(2)
            self._exactly(2)
            return body
        return self._exactly(int(fields.get("content-length", "0")))

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(end)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _more(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(f"closed after {self._buffer!r}")
        self._buffer += piece
