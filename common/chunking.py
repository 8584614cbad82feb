"""Chunk sizes, plans and ranges. Pure arithmetic: all sizes and offsets are bytes, indexes start at 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

from common.errors import ChunkOutOfRange, ChunkSizeRefused, FileTooLarge

MIB = 1024 * 1024
GIB = 1024 * MIB

DEFAULT_MIN = 5 * MIB  # the smallest part that S3 takes; also keeps requests per file low
DEFAULT_MAX = 20 * MIB  # at 1 MiB/s still done within the 60 s many proxies allow a request
CHUNKS_AIMED_AT = 500  # fine enough that a broken connection costs 0.2 % of the file
MAX_CHUNKS = 10_000  # S3 takes no more parts than this

Range = tuple[int, int]
"""First and last index, both included."""


def default_chunk_size(size: int, max_chunks: int = MAX_CHUNKS) -> int:
    """`clamp(size / 500, 5 MiB, 20 MiB)`, raised where that gives too many chunks, in whole MiB."""
    wanted = min(max(size / CHUNKS_AIMED_AT, DEFAULT_MIN), DEFAULT_MAX)
    wanted = max(wanted, size / max_chunks)
    return ceil(wanted / MIB) * MIB


def agree_chunk_size(size: int, asked: int | None, *, smallest: int, largest: int, max_chunks: int = MAX_CHUNKS) -> int:
    """The chunk size for a file of `size` bytes; raises ChunkSizeRefused where the asked one cannot be."""
    if size > largest * max_chunks:
        most = largest * max_chunks
        raise FileTooLarge(f"A file may have at most {most} bytes: {max_chunks} chunks of {largest} bytes.", limit=most)
    if asked is None:
        return min(max(default_chunk_size(size, max_chunks), smallest), largest)
    least = max(_divided_up(size, max_chunks), smallest)
    if not least <= asked <= largest:
        raise ChunkSizeRefused(
            f"chunk_size must be between {least} and {largest} bytes for a file of {size} bytes in at most "
            f"{max_chunks} chunks.",
            minimum=least,
            maximum=largest,
        )
    return asked


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """How a file of `size` bytes is cut. An empty file has no chunks."""

    size: int
    chunk_size: int

    @property
    def count(self) -> int:
        return _divided_up(self.size, self.chunk_size)

    def offset(self, index: int) -> int:
        """First byte of chunk `index`; raises ChunkOutOfRange."""
        self._check(index)
        return index * self.chunk_size

    def length(self, index: int) -> int:
        """Bytes in chunk `index`, the last may be shorter; raises ChunkOutOfRange."""
        return min(self.chunk_size, self.size - self.offset(index))

    def index_at(self, offset: int) -> int:
        """The chunk that byte `offset` belongs to."""
        return offset // self.chunk_size

    def segments(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of every chunk, in order."""
        return ((self.offset(i), self.length(i)) for i in range(self.count))

    def _check(self, index: int) -> None:
        if not 0 <= index < self.count:
            last = f"0 to {self.count - 1}" if self.count else "none: the file is empty"
            raise ChunkOutOfRange(f"There is no chunk {index}; valid indexes: {last}.", chunk_count=self.count)


def _divided_up(size: int, by: int) -> int:
    """Rounded up, exact for every integer: a quotient of floats is not."""
    return -(-size // by)


def missing_ranges(count: int, received: Iterable[int]) -> list[Range]:
    """The gaps that `received` leaves in 0..count-1, as inclusive ranges in order."""
    gaps: list[Range] = []
    expected = 0
    for index in sorted(set(received)):
        if index > expected:
            gaps.append((expected, index - 1))
        expected = index + 1
    if expected < count:
        gaps.append((expected, count - 1))
    return gaps


def ranges_of(indexes: Iterable[int]) -> list[Range]:
    """The given indexes as inclusive ranges in order."""
    found: list[Range] = []
    for index in sorted(set(indexes)):
        if found and found[-1][1] == index - 1:
            found[-1] = (found[-1][0], index)
        else:
            found.append((index, index))
    return found
