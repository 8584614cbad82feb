"""Chunk arithmetic: which bytes a chunk covers, which chunks are missing; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Ranges = Iterable[tuple[int, int]]
"""Chunk numbers as pairs (first, last), both included."""


def chunk_span(index: int, chunk_size: int, size: int) -> tuple[int, int]:
    """(offset, length) in bytes of a chunk; the last chunk may be shorter."""
    offset = index * chunk_size
    return offset, max(0, min(chunk_size, size - offset))


def chunk_indexes(missing: Ranges) -> Iterator[int]:
    """The chunk numbers named by the ranges, one after the other."""
    for first, last in missing:
        yield from range(first, last + 1)


def missing_bytes(missing: Ranges, chunk_size: int, size: int) -> int:
    """How many bytes the missing chunks cover."""
    return sum(min((last + 1) * chunk_size, size) - min(first * chunk_size, size) for first, last in missing)
