"""What is measured. Each function runs once and returns numbers; `__main__` interleaves and repeats them."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from bench.driver import Connection, Piece, in_threads, send_pieces

MIB = 1024**2
SMALL = 64 * 1024  # bytes of a small file


@dataclass(frozen=True)
class BigFile:
    """Seconds of the parts of one big upload."""

    receive: float
    finalize: float


def big_file(url: str, path: Path, connections: int, chunk: int = 16 * MIB) -> BigFile:
    """Create, send all chunks, finalize and wait until the file can be read; then delete it."""
    size = path.stat().st_size
    control = Connection(url)
    with path.open("rb") as file:
        upload = control.json("POST", "/v1/uploads", {"filename": path.name, "size": size, "chunk_size": chunk})
        where = f"/v1/uploads/{upload['id']}"
        began = time.perf_counter()
        send_pieces(url, file.fileno(), _pieces(where + "/chunks/", size, chunk), connections)
        received = time.perf_counter()
    job = control.json("POST", where + "/finalize", {})
    while job["state"] in ("queued", "running"):
        job = control.json("GET", f"/v1/jobs/{job['id']}?wait=60")
    ready = time.perf_counter()
    if job["state"] != "succeeded":
        raise RuntimeError(f"the job ended as {job}")
    control.request("DELETE", f"/v1/files/{job['file_id']}")
    control.close()
    return BigFile(received - began, ready - received)


def dropped(url: str, path: Path, connections: int, chunk: int = 16 * MIB) -> float:
    """Seconds for the same bytes to the handler that drops them."""
    with path.open("rb") as file:
        began = time.perf_counter()
        send_pieces(url, file.fileno(), _pieces("/", path.stat().st_size, chunk), connections)
        return time.perf_counter() - began


def small_files(url: str, count: int, connections: int) -> float:
    """Seconds for so many files of 64 KiB, one request each, until the last of them is ready."""
    content = os.urandom(SMALL)
    numbers = iter(range(count))
    jobs: list[str] = []

    def work(connection: Connection) -> None:
        for number in numbers:
            head = f'Content-Disposition: attachment; filename="small-{number}"\r\n'
            status, body = connection.request("POST", "/v1/files", content, head)
            if status != 202:
                raise RuntimeError(f"{status} {body[:300]!r}")
            jobs.append(body.split(b'"', 4)[3].decode())

    def wait(connection: Connection) -> None:
        while jobs:
            try:
                job_id = jobs.pop()
            except IndexError:
                return
            job = connection.json("GET", f"/v1/jobs/{job_id}?wait=60")
            if job["state"] != "succeeded":
                raise RuntimeError(f"the job ended as {job}")

    began = time.perf_counter()
    in_threads(url, work, connections)
    in_threads(url, wait, connections)
    return time.perf_counter() - began


def bare_sha256(path: Path) -> float:
    """Seconds for hashlib over the same bytes, in 1 MiB reads."""
    buffer = bytearray(MIB)
    digest = hashlib.sha256()
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return time.perf_counter() - began


def _pieces(prefix: str, size: int, chunk: int) -> list[Piece]:
    return [
        Piece(f"{prefix}{index}", offset, min(chunk, size - offset))
        for index, offset in enumerate(range(0, size, chunk))
    ]
