"""How much is measured: the short form for a look, the full form for docs/performance.md. Sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass

MIB, GIB = 1024**2, 1024**3
CHUNK = 16 * MIB  # of our uploads; in the range that the chunk size policy chooses from


@dataclass(frozen=True)
class Form:
    """One form. Numbers of rounds are for what is interleaved; medians come of them."""

    name: str
    rounds: int
    big: int
    connections: tuple[int, ...]
    small: tuple[tuple[int, int], ...]
    """Size and number of the files of one round."""
    finalize_read: tuple[int, ...]
    finalize_receipts: tuple[int, ...]
    queue_single: int
    """Jobs of which the latency is taken one by one."""
    queue_backlog: int
    queue_rounds: int
    idle_seconds: float
    slow: tuple[int, ...]
    """Numbers of slow uploads at once."""
    slow_seconds: float
    listing: tuple[int, ...]
    """Numbers of files in the database."""
    looks: int
    """Requests of each kind to a listing."""
    profile_seconds: int


SHORT = Form(
    name="short",
    rounds=2,
    big=128 * MIB,
    connections=(1, 4),
    small=((64 * 1024, 120), (1024, 120)),
    finalize_read=(MIB, 64 * MIB, GIB),
    finalize_receipts=(MIB, GIB, 100 * GIB),
    queue_single=20,
    queue_backlog=100,
    queue_rounds=1,
    idle_seconds=1.0,
    slow=(1, 256),
    slow_seconds=1.0,
    listing=(1_000, 10_000),
    looks=40,
    profile_seconds=1,
)
FULL = Form(
    name="full",
    rounds=5,
    big=GIB,
    connections=(1, 4, 16),
    small=((64 * 1024, 400), (1024, 400)),
    finalize_read=(MIB, 64 * MIB, GIB, 10 * GIB, 100 * GIB),
    finalize_receipts=(MIB, 64 * MIB, GIB, 10 * GIB, 100 * GIB),
    queue_single=150,
    queue_backlog=1_000,
    queue_rounds=2,
    idle_seconds=10.0,
    slow=(1, 64, 256, 1_000),
    slow_seconds=4.0,
    listing=(1_000, 1_000_000),
    looks=200,
    profile_seconds=8,
)
FORMS = {form.name: form for form in (SHORT, FULL)}
