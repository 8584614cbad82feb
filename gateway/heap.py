"""The memory of bodies is kept from one to the next, in place of going back to the kernel after each.

glibc gives back what is free at the end of the heap, and takes it again a moment later: for each GiB received 45,000
pages were taken, zeroed and given back, a sixth of the processor time of this process (measured).
"""

from __future__ import annotations

import ctypes

from gateway.protocol import LONG_READ

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
MOST = 2**31 - 1  # bytes; its values are ints of C, and what is more would be cut to its low bits: often 0, or negative


def keep_freed_memory(most: int) -> None:
    """Let the allocator hold up to `most` bytes that nobody uses. Nothing where it is not glibc's."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(M_TRIM_THRESHOLD, min(most, MOST))
    mallopt(M_MMAP_THRESHOLD, 2 * LONG_READ)  # as it would set itself, were the other not set
