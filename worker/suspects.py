"""Jobs that may have killed their workers: one at a time, so that others lose no attempts with the one that does."""

from __future__ import annotations

import time

from common.db.models import Job

LOSSES = 2  # lost workers that may be chance: a deploy and a crash
SPACING = 0.05  # seconds between two of them in line
PAUSE = 1.0  # seconds until one that found another one running is rung again


def is_suspect(job: Job) -> bool:
    """Whether a job that was just claimed may kill its worker: so many attempts before, and the last one said nothing
    of how it ended."""
    return job.attempts > LOSSES and job.error_code is None


class SuspectLine:
    """`runs`: whether one is running in this process."""

    def __init__(self) -> None:
        self.runs = False
        self._next = 0.0

    def place(self) -> float:
        """Seconds until the next one is rung again, each a little later than the one before: not all at once."""
        now = time.monotonic()
        self._next = max(now + PAUSE, self._next + SPACING)
        return self._next - now
