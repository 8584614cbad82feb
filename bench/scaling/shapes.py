"""Uploads of three shapes, from which the cost of an upload, of a chunk and of a MiB follow."""

from __future__ import annotations

from dataclasses import dataclass

from bench.scaling.counters import Reading

BY_BYTES = ("bytes.", "cpu.gateway", "cpu.worker")
BY_CHUNK = (*BY_BYTES, "http.")
"""What can grow with the bytes, and with the chunks. A chunk costs no statement and no command: what sweep, heartbeat
and the cache of facts do meanwhile goes by the clock."""


@dataclass(frozen=True)
class Shape:
    """So many uploads of a size, cut into chunks."""

    uploads: int
    mib: int
    chunk_mib: int

    @property
    def chunks(self) -> int:
        return self.mib // self.chunk_mib


MANY, FEW, SHORT = Shape(2, 100, 5), Shape(2, 100, 20), Shape(10, 10, 5)


def solve(many: Reading, few: Reading, short: Reading) -> dict[str, Reading]:
    """Costs of an upload, a chunk and a MiB from the three shapes; noise below nothing is nothing."""
    found: dict[str, Reading] = {"upload": {}, "chunk": {}, "mib": {}}
    for name in {*many, *few, *short} - {"clock"}:
        a, b, c = (reading.get(name, 0.0) for reading in (many, few, short))
        chunk = mib = 0.0
        if name.startswith(BY_CHUNK):
            chunk = max(0.0, (a - b) / (MANY.chunks - FEW.chunks))
        if name.startswith(BY_BYTES):
            mib = max(0.0, (b - c - chunk * (FEW.chunks - SHORT.chunks)) / (FEW.mib - SHORT.mib))
        found["chunk"][name], found["mib"][name] = chunk, mib
        found["upload"][name] = max(0.0, c - chunk * SHORT.chunks - mib * SHORT.mib)
    return found
