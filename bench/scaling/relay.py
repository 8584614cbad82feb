"""A relay that counts: bytes both ways, and the HTTP requests of what passes. Runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PIECE = 256 * 1024  # bytes of one read
LONGEST_HEAD = 8192  # bytes; a request line with a presigned address has about 1,000
REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|PATCH|DELETE) (/\S*) HTTP/1\.1\r\n")


@dataclass
class Relay:
    """`url` is where to connect in place of the server; `requests` counts by `METHOD /path?query`."""

    url: str = ""
    sent: int = 0
    """Bytes from the client to the server, heads and all."""
    received: int = 0
    requests: list[str] = field(default_factory=list)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        try:
            there, back = await asyncio.open_connection(host, port, limit=4 * PIECE)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._up(reader, back), self._down(there, writer))
        back.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tail = b""
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                self.sent += len(piece)
                tail = self._note(tail + piece)
                writer.write(piece)
                await writer.drain()
            writer.write_eof()  # answers may still come

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                self.received += len(piece)
                writer.write(piece)
                await writer.drain()
        writer.close()

    def _note(self, text: bytes) -> bytes:
        """Count the request lines; what may be the beginning of another one. Random bodies hold none."""
        end = 0
        for found in REQUEST.finditer(text):
            self.requests.append(f"{found[1].decode()} {found[2].decode()}")
            end = found.end()
        return text[max(end, len(text) - LONGEST_HEAD) :]


@contextmanager
def relay(host: str, port: int) -> Iterator[Relay]:
    """Pass on to `host:port` until the end of the block."""
    counted, loop = Relay(), asyncio.new_event_loop()
    server = loop.run_until_complete(
        asyncio.start_server(lambda r, w: counted._serve(r, w, host, port), "127.0.0.1", 0, limit=4 * PIECE)
    )
    counted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield counted
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.run_until_complete(_close(server))
        loop.close()


async def _close(server: asyncio.Server) -> None:
    """Also the connections that clients keep open."""
    server.close()
    await asyncio.sleep(0)  # what was accepted already becomes a task
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def s3_operations(requests: list[str]) -> Counter[str]:
    """Requests by the name of the S3 operation, as its API reference names them."""
    return Counter(map(_operation, requests))


def _operation(request: str) -> str:
    method, _, address = request.partition(" ")
    query = {part.partition("=")[0] for part in address.partition("?")[2].split("&")}
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "partNumber" in query and method == "PUT":
        return "UploadPart"
    if "uploadId" in query:
        return {"POST": "CompleteMultipartUpload", "GET": "ListParts", "DELETE": "AbortMultipartUpload"}[method]
    if method == "GET" and query & {"list-type", "prefix"}:
        return "ListObjects"
    return {"POST": "DeleteObjects"}.get(method, f"{method.capitalize()}Object")
