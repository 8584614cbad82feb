"""What happens after an error: try again later, or fail with a code. Pure: no I/O, no clock, no queue.

Whoever sees the job sees the sentence that is made here: it names codes and our own sentences, never the text of a
foreign exception, which may hold paths, addresses or secrets.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.errors import (
    AttemptsExhausted,
    BytesAwaited,
    ChunksDamaged,
    DatabaseFull,
    FileDigestMismatch,
    InsufficientStorage,
    Internal,
    JobError,
    JobTimeout,
    SluiceError,
    StorageUnavailable,
    UploadGone,
)

BACKOFF_SECONDS = (1.0, 60.0)
"""First and longest wait after a fault that passes by itself."""
WAITING_BACKOFF_SECONDS = (5.0, 15.0)
"""The same for a full disk, and for bytes that are still being stored. Somebody else has to do something first, however
long that takes: it costs no attempt, and once it is done the job goes on within seconds."""

FINAL: tuple[type[JobError], ...] = (ChunksDamaged, FileDigestMismatch, UploadGone)
"""Errors that the next attempt would meet again."""


@dataclass(frozen=True, slots=True)
class RetryAfter:
    """Another attempt in `seconds`; `code` and `detail` are shown on the job until then.

    With `free` this attempt does not count.
    """

    seconds: float
    code: str
    detail: str
    free: bool = False


@dataclass(frozen=True, slots=True)
class FailWith:
    """The job has failed; `extras` go with the code to whoever polls."""

    code: str
    detail: str
    extras: dict[str, Any] | None = None


def decide(error: BaseException, attempt: int, max_attempts: int, random: Callable[[], float]) -> RetryAfter | FailWith:
    """The fate of a job whose `attempt` (counted from 1) ended with `error`. `random` gives [0, 1)."""
    known = as_ours(error)
    if isinstance(known, FINAL):
        return FailWith(known.code, known.detail, dict(known.extras) or None)
    if isinstance(known, (InsufficientStorage, DatabaseFull, BytesAwaited)):
        return RetryAfter(backoff(attempt, WAITING_BACKOFF_SECONDS, random), known.code, known.detail, free=True)
    if attempt >= max_attempts:
        tried = f"All {attempt} attempts failed; the last with {known.code}: {known.detail}"
        return FailWith(AttemptsExhausted.code, tried)
    return RetryAfter(backoff(attempt, BACKOFF_SECONDS, random), known.code, known.detail)


def backoff(attempt: int, bounds: tuple[float, float], random: Callable[[], float]) -> float:
    """Seconds to wait after `attempt`: doubling, and spread so that many jobs do not come back at once."""
    first, longest = bounds
    doubled = first * 2.0 ** min(attempt - 1, 30)  # 2**30 is past every bound; more would overflow
    return max(first, min(longest, doubled * (0.5 + random())))


def as_ours(error: BaseException) -> SluiceError:
    """The error of our own tree that stands for any exception."""
    if isinstance(error, SluiceError):
        return error
    if isinstance(error, TimeoutError):
        return JobTimeout("The attempt took too long.")
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return InsufficientStorage("No space is left on the storage.")
        return StorageUnavailable("The storage failed to read or write.")
    return Internal("The worker met an error that it does not know; its log has more.")
