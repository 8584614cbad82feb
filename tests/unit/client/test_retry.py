"""The retry policy: pure decisions."""

from datetime import UTC, datetime

import pytest

from client.retry import RetryBudget, RetryPolicy, parse_retry_after, retryable_status

NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 507])
def test_what_may_pass_by_itself_is_retried(status: int) -> None:
    assert retryable_status(status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 415, 416, 422])
def test_what_the_caller_must_change_is_not_retried(status: int) -> None:
    assert not retryable_status(status)


def test_the_ceiling_of_the_pause_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(attempts=9, base=1, cap=10)
    assert [policy.pause(n, draw=lambda: 1.0) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_the_jitter_is_full() -> None:
    policy = RetryPolicy(base=1, cap=10)
    assert policy.pause(3, draw=lambda: 0.0) == 0
    assert policy.pause(3, draw=lambda: 0.5) == 2


def test_the_attempts_are_bounded() -> None:
    policy = RetryPolicy(attempts=3)
    assert policy.pause(2) is not None
    assert policy.pause(3) is None


def test_retry_after_is_a_floor_with_jitter_on_top() -> None:
    policy = RetryPolicy(base=0.5)
    assert policy.pause(1, retry_after=7, draw=lambda: 0.0) == 7
    assert policy.pause(1, retry_after=7, draw=lambda: 1.0) == 7.5


def test_a_server_that_asks_to_wait_too_long_is_given_up() -> None:
    assert RetryPolicy(longest_retry_after=60).pause(1, retry_after=61) is None


def test_progress_restarts_the_budget() -> None:
    achieved = 0
    budget = RetryBudget(RetryPolicy(attempts=2, base=0), lambda: achieved)
    assert budget.spend() is not None
    achieved = 1
    assert budget.spend() is not None
    assert budget.spend() is None
    assert budget.attempts == 3


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("Tue, 01 Jan 2030 12:00:30 GMT", 30),
        ("Tue, 01 Jan 2030 11:00:00 GMT", 0),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds
