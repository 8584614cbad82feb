"""What needs no protocol of ours: bytes for the handler that drops them, downloads, pages, bodies that come slowly."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil

from bench.driver import Connection, expect, in_threads, pieces, send_pieces
from bench.sends import tus

MIB = 1024**2
PIECE = 16 * 1024  # bytes that a slow client sends at once
LINGER = 0.25  # seconds


def dropped(url: str, path: str, connections: int, chunk: int) -> dict[str, float]:
    """The chunks of a file to the handler that drops them."""
    with Path(path).open("rb") as file:
        began = time.perf_counter()
        send_pieces(url, file.fileno(), pieces("/", Path(path).stat().st_size, chunk), connections)
        took = time.perf_counter() - began
    return {"receive": took, "ready": took}


def download(url: str, where: str, size: int, connections: int, piece: int | None = None) -> dict[str, float]:
    """The whole file on each connection, or with `piece` its ranges shared out; bytes and seconds.

    Connections stay open for a moment that is not counted, as a browser keeps them: @tus/server 2.4.5 on Node 20 may
    end with an error when a client leaves at once.
    """
    heads = [""] * connections
    if piece is not None:
        heads = [f"Range: bytes={start}-{min(start + piece, size) - 1}\r\n" for start in range(0, size, piece)]
    waiting, ends = iter(heads), list[float]()
    lock = threading.Lock()

    def run(connection: Connection) -> None:
        while True:
            with lock:
                head = next(waiting, None)
            if head is None:
                break
            connection.drop(where, head)
            ends.append(time.perf_counter())
        time.sleep(LINGER)

    began = time.perf_counter()
    in_threads(url, run, connections)
    return {"bytes": size * (connections if piece is None else 1), "seconds": max(ends) - began}


def latencies(url: str, paths: list[str], follow: int = 0) -> dict[str, Any]:
    """`GET` each path, and so many next pages behind it: p50 and p99 in ms."""
    connection, took = Connection(url), []
    for path in paths:
        at: str | None = path
        for _ in range(follow + 1):
            if at is None:
                break
            began = time.perf_counter()
            page = connection.ask("GET", at)
            took.append((time.perf_counter() - began) * 1000)
            at = _next(path, expect(page, "GET", at).body)
    connection.close()
    cuts = quantiles(took, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98], "count": len(took)}


def _next(path: str, body: bytes) -> str | None:
    _, found, rest = body.partition(b'"next_cursor":"')
    cursor = rest.partition(b'"')[0].decode()
    return f"{path}&cursor={cursor}" if found and cursor else None


def held_polls(url: str, job: str, count: int, seconds: float, pids: list[int]) -> dict[str, float]:
    """So many clients that wait for one job at once: CPU seconds of the server for each second meanwhile."""
    waiting = [Connection(url) for _ in range(count)]
    for connection in waiting:
        connection.socket.sendall(connection.head("GET", f"/v1/jobs/{job}?wait=60", 0, ""))
    time.sleep(2.0)  # all of them have arrived
    before = cpu(pids)
    time.sleep(seconds)
    used = (cpu(pids) - before) / seconds
    for connection in waiting:
        connection.close()
    return {"cpu": used}


def cpu(pids: list[int]) -> float:
    """CPU seconds of these processes so far."""
    return float(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids))


def slow(url: str, speaks: str, count: int, size: int, seconds: float, pids: list[int]) -> dict[str, float]:
    """So many uploads at once that bring a piece now and then: the highest RSS of the server meanwhile, in bytes.

    The connections are broken off at the end: what arrives after the measurement is of no interest.
    """
    base = rss(pids)
    begun = [_native(url, size) if speaks == "native" else tus.begin_slowly(url, size) for _ in range(count)]
    highest = 0
    try:
        for connection, head in begun:
            connection.socket.sendall(head)
            connection.socket.setblocking(False)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began, stuck = time.monotonic(), sum(not _give(connection.socket) for connection, _ in begun)
            highest = max(highest, rss(pids))
            time.sleep(max(0.0, seconds / 20 - (time.monotonic() - began)))
    finally:
        for connection, _ in begun:
            connection.close()
    return {"base": base, "peak": highest, "stuck": stuck}


def _native(url: str, size: int) -> tuple[Connection, bytes]:
    connection = Connection(url)
    upload = connection.json("POST", "/v1/uploads", {"filename": "slow.bin", "size": size, "chunk_size": size})
    return connection, connection.head("PUT", f"/v1/uploads/{upload['id']}/chunks/0", size, "")


def _give(to: socket.socket) -> bool:
    try:
        to.send(bytes(PIECE))
    except BlockingIOError:
        return False
    return True


def rss(pids: list[int]) -> int:
    """Resident bytes of these processes together."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)
