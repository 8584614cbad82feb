"""tus 1.0 as its clients speak it: `POST` to create, `PATCH` for the bytes, `Upload-Concat` for parallel parts."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.driver import Connection, expect, share

VERSION = "Tus-Resumable: 1.0.0\r\n"
BODY = "Content-Type: application/offset+octet-stream\r\n"
LONGEST_JOB, LOOK = 120.0, 0.01  # seconds: for a job, and between two looks
# Some servers want both names before they show an upload.
NAMES = ("filename", "bench.bin"), ("filetype", "application/octet-stream")
METADATA = ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in NAMES)


def big(
    url: str, path: str, connections: int, patch: int | None = None, keep: bool = False, job: bool = False
) -> dict[str, Any]:
    """One file in so many parallel parts that are put together at the end; with one connection, one upload.

    `patch`: bytes of one `PATCH`; None: each part in one. `job`: the file is finished after the last answer, so look
    until it can be downloaded.
    """
    file = Path(path)
    size, control = file.stat().st_size, Connection(url)
    began = time.perf_counter()
    with file.open("rb") as opened:
        if connections == 1:
            where = _create(control, url, f"Upload-Length: {size}\r\nUpload-Metadata: {METADATA}\r\n")
            _append(control, where, opened.fileno(), 0, size, patch or size)
        else:
            where = _parallel(control, url, opened.fileno(), size, connections, patch)
    received = time.perf_counter()
    while job and control.ask("HEAD", where).status != 200:  # no version: the file is asked for, not the upload
        if time.perf_counter() - received > LONGEST_JOB:
            raise RuntimeError(f"{where} is not there after {LONGEST_JOB:.0f} s")
        time.sleep(LOOK)
    ready = time.perf_counter()
    if not keep:
        control.ask("DELETE", where, headers=VERSION)
    control.close()
    return {"receive": received - began, "ready": ready - began, "where": where}


def _parallel(control: Connection, url: str, file: int, size: int, connections: int, patch: int | None) -> str:
    part = -(-size // connections)
    spans = [(start, min(part, size - start)) for start in range(0, size, part)]
    made: dict[int, str] = {}

    def send(connection: Connection, span: tuple[int, int]) -> None:
        start, length = span
        made[start] = _create(connection, url, f"Upload-Length: {length}\r\nUpload-Concat: partial\r\n")
        _append(connection, made[start], file, start, length, patch or length)

    share(url, spans, send, connections)
    parts = " ".join(made[start] for start, _ in spans)
    return _create(control, url, f"Upload-Concat: final;{parts}\r\nUpload-Metadata: {METADATA}\r\n")


def small(url: str, size: int, count: int, connections: int, together: bool = False) -> dict[str, float]:
    """So many files by create and append, or `together` in one request (creation-with-upload)."""
    content = os.urandom(size)
    create = f"Upload-Length: {size}\r\nUpload-Metadata: {METADATA}\r\n"

    def send(connection: Connection, _: int) -> None:
        if together:
            _create(connection, url, create + BODY, content)
        else:
            where = _create(connection, url, create)
            head = f"{VERSION}{BODY}Upload-Offset: 0\r\n"
            expect(connection.ask("PATCH", where, content, head), "PATCH", where)

    began = time.perf_counter()
    share(url, range(count), send, connections)
    took = time.perf_counter() - began
    return {"receive": took, "ready": took}


def _create(connection: Connection, url: str, headers: str, body: bytes = b"") -> str:
    """The path of the new upload."""
    path = urlsplit(url).path or "/"
    answer = expect(connection.ask("POST", path, body, VERSION + headers), "POST", path)
    return urlsplit(answer.headers["location"]).path


def _append(connection: Connection, where: str, file: int, start: int, length: int, patch: int) -> None:
    for offset in range(0, length, patch):
        head = f"{VERSION}{BODY}Upload-Offset: {offset}\r\n"
        connection.send_file("PATCH", where, file, start + offset, min(patch, length - offset), head)


def begin_slowly(url: str, size: int) -> tuple[Connection, bytes]:
    """For slow uploads: a connection, and the head of the request that brings all bytes."""
    connection = Connection(url)
    where = _create(connection, url, f"Upload-Length: {size}\r\nUpload-Metadata: {METADATA}\r\n")
    return connection, connection.head("PATCH", where, size, f"{VERSION}{BODY}Upload-Offset: 0\r\n")
