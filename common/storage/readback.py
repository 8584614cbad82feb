"""Reading stored bytes once: CRC-64/NVME of each piece and digests of the whole, in one pass. All calls block."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from common.digests import Crc64, Digests, StreamHasher
from common.errors import LeaseLost
from common.storage.base import SealWatch, Segment
from common.storage.uncached import UncachedReads

BUFFER_SIZE = 2 * 1024 * 1024  # two of them for each seal; 4 MiB gained 1 %, 1 MiB lost 2 % (measured)
SMALL = 256 * 1024  # bytes that cost less to read than a thread to start


@dataclass(frozen=True, slots=True)
class ReadBack:
    """`crcs` stand in the order of the pieces; None where the file ended before the piece did."""

    crcs: list[int | None]
    digests: Digests


def read_back(descriptor: int, pieces: Sequence[Segment], whole: StreamHasher, watch: SealWatch) -> ReadBack:
    """Read pieces that follow each other without gaps; `whole` has seen what is before the first one.

    Raises LeaseLost when `watch.stop` is set.
    """
    size = sum(piece.length for piece in pieces)
    start = pieces[0].offset if pieces else 0
    crcs = PieceCrcs(pieces)
    done = start
    with closing(_buffers(descriptor, start, size)) as buffers:
        for buffer in buffers:
            if watch.stop.is_set():
                raise LeaseLost("The verification was stopped.")
            whole.update(buffer)
            crcs.update(buffer)
            done += len(buffer)
            watch.progress(done)
    return ReadBack(crcs.finished(), whole.digests())


class PieceCrcs:
    """Cuts a stream into pieces and keeps the CRC of each."""

    def __init__(self, pieces: Sequence[Segment]) -> None:
        self._pieces = pieces
        self._crcs: list[int | None] = []
        self._running = Crc64()
        self._left = pieces[0].length if pieces else 0

    def update(self, buffer: memoryview) -> None:
        start = 0
        while start < len(buffer):
            part = buffer[start : start + self._left]
            self._running.update(part)
            self._left -= len(part)
            start += len(part)
            if self._left == 0:
                self._next()

    def _next(self) -> None:
        self._crcs.append(self._running.value)
        self._running = Crc64()
        if len(self._crcs) < len(self._pieces):
            self._left = self._pieces[len(self._crcs)].length

    def finished(self) -> list[int | None]:
        cut: list[int | None] = [None] * (len(self._pieces) - len(self._crcs))
        return self._crcs + cut


def _buffers(descriptor: int, start: int, size: int) -> Generator[memoryview, None, None]:
    """`size` bytes from `start`, or as many as there are. A thread reads the next buffer while one is worked on."""
    reads = UncachedReads(descriptor)
    if size <= SMALL:
        buffer = memoryview(bytearray(size))
        if count := _fill(reads, buffer, start + size, start):
            yield buffer[:count]
        return
    os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_SEQUENTIAL)
    spare, current = (memoryview(bytearray(min(size, BUFFER_SIZE))) for _ in range(2))
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        position, end = start, start + size
        ahead: Future[int] = thread.submit(_fill, reads, current, end, position)
        while count := ahead.result():
            filled, current, spare = current, spare, current
            position += count
            ahead = thread.submit(_fill, reads, current, end, position)
            yield filled[:count]


def _fill(reads: UncachedReads, buffer: memoryview, end: int, offset: int) -> int:
    wanted = min(len(buffer), end - offset)
    filled = 0
    while filled < wanted:
        count = reads.into([buffer[filled:wanted]], offset + filled)
        if count == 0:
            break
        filled += count
    return filled
