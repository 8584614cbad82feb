"""When to try again and how long to wait; pure, no clock and no network in here."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter, bounded in attempts and in seconds.

    `attempts` counts the first request too. `base` and `cap` bound the random pause in seconds: pause n is
    drawn from 0 to min(cap, base * 2**(n-1)). `longest_retry_after` is the most a server may ask to wait
    (seconds) before the call gives up instead.
    """

    attempts: int = 9
    base: float = 0.25
    cap: float = 15.0
    longest_retry_after: float = 300.0

    def pause(
        self, failures: int, retry_after: float | None = None, draw: Callable[[], float] = random.random
    ) -> float | None:
        """Seconds to wait after the given number of failures in a row, or None to give up.

        A `Retry-After` is a floor: the jitter comes on top, so that clients do not return all at once.
        """
        if failures >= self.attempts:
            return None
        if retry_after is not None and retry_after > self.longest_retry_after:
            return None
        ceiling = min(self.cap, self.base * 2.0 ** (failures - 1))
        if retry_after is None:
            return draw() * ceiling
        return retry_after + draw() * self.base


@dataclass(frozen=True)
class RetryNotice:
    """A request failed and will be made again after `delay` seconds: that will be the `attempt`-th of `attempts`
    without progress in between. `reason` is one line that says why, `error` what was raised."""

    attempt: int
    attempts: int
    delay: float
    reason: str
    error: Exception


RetryCallback = Callable[[RetryNotice], None]
"""Called before each pause, from the event loop's thread; it must return quickly and not raise."""


class RetryBudget:
    """The failures of one piece of work. Progress made meanwhile (by this piece or by its siblings) starts the
    count again, so a long transfer over a bad link is not ended by the sum of its hiccups."""

    def __init__(self, policy: RetryPolicy, progress: Callable[[], int] | None = None) -> None:
        """`progress` returns a number that grows whenever something was achieved."""
        self.attempts = 1
        self.failures = 0  # in a row
        self.reached = False  # whether any attempt got as far as a connection
        self._policy = policy
        self._progress = progress or (lambda: 0)
        self._seen = self._progress()

    def spend(self, retry_after: float | None = None) -> float | None:
        """Count one failure; seconds to wait before the next attempt, or None to give up."""
        achieved = self._progress()
        if achieved > self._seen:
            self._seen = achieved
            self.failures = 0
        self.failures += 1
        pause = self._policy.pause(self.failures, retry_after)
        if pause is not None:
            self.attempts += 1
        return pause


def retryable_status(status: int) -> bool:
    """429 and 5xx may pass by themselves; every other 4xx is something the caller has to change."""
    return status == 429 or status >= 500


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds asked for by a `Retry-After` header (RFC 9110 section 10.2.3: seconds or a date); None when it is
    absent or unreadable, 0 for a date in the past."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())
