"""Short names for the two workloads that other measurements use (`bench.s3`, `bench.scaling`)."""

from __future__ import annotations

from bench.sends import native

MIB = 1024**2
SMALL = 64 * 1024  # bytes of a small file


def small_files(url: str, count: int, connections: int) -> float:
    """Seconds for so many files of 64 KiB, one request each, until the last of them is ready."""
    return native.small(url, SMALL, count, connections)["ready"]
