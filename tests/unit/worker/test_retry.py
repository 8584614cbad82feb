"""What follows from an error: pure, so every case is one line."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import (
    ChunksDamaged,
    DatabaseFull,
    DatabaseUnavailable,
    FileDigestMismatch,
    InsufficientStorage,
    JobTimeout,
    StorageUnavailable,
    UploadGone,
)
from worker.retry import BACKOFF_SECONDS, WAITING_BACKOFF_SECONDS, FailWith, RetryAfter, backoff, decide


def middle() -> float:
    return 0.5


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseUnavailable("away"), "database_unavailable"),
        (StorageUnavailable("away"), "storage_unavailable"),
        (JobTimeout("slow"), "job_timeout"),
        (TimeoutError(), "job_timeout"),
        (OSError(errno.EIO, "bad sector"), "storage_unavailable"),
        (ValueError("a bug"), "internal_error"),
    ],
)
def test_what_may_pass_by_itself_is_tried_again(error: Exception, code: str) -> None:
    fate = decide(error, 1, 10, middle)
    assert isinstance(fate, RetryAfter)
    assert (fate.code, fate.seconds) == (code, 1.0)


@pytest.mark.parametrize("error", [FileDigestMismatch("no"), UploadGone("no")])
def test_what_the_next_attempt_would_meet_again_fails_at_once(error: Exception) -> None:
    fate = decide(error, 1, 10, middle)
    assert isinstance(fate, FailWith)
    assert fate.code == type(error).code  # type: ignore[attr-defined]


def test_damaged_chunks_are_named() -> None:
    fate = decide(ChunksDamaged("two", chunks=[1, 2], ranges=[[1, 2]]), 10, 10, middle)
    assert fate == FailWith("chunks_damaged", "two", {"chunks": [1, 2], "ranges": [[1, 2]]})


def test_the_last_attempt_ends_as_a_dead_letter_that_tells_the_last_error() -> None:
    fate = decide(StorageUnavailable("The disk is away."), 3, 3, middle)
    expected = "All 3 attempts failed; the last with storage_unavailable: The disk is away."
    assert fate == FailWith("attempts_exhausted", expected)


@pytest.mark.parametrize(
    "error", [InsufficientStorage("full"), OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "")]
)
def test_a_full_disk_is_given_time(error: Exception) -> None:
    fate = decide(error, 1, 10, middle)
    assert isinstance(fate, RetryAfter)
    assert (fate.code, fate.seconds) == ("insufficient_storage", WAITING_BACKOFF_SECONDS[0])


@pytest.mark.parametrize("error", [InsufficientStorage("full"), DatabaseFull("full")])
def test_a_full_disk_costs_no_attempt_and_never_ends_a_job(error: Exception) -> None:
    fate = decide(error, 10, 10, middle)
    assert isinstance(fate, RetryAfter)
    assert fate.free
    assert fate.seconds <= WAITING_BACKOFF_SECONDS[1] < 30


@pytest.mark.parametrize("error", [OSError(5, "No", "/srv/secret/path"), KeyError("password=hunter2")])
def test_the_text_of_a_foreign_error_is_never_shown(error: Exception) -> None:
    for attempt in (1, 10):
        fate = decide(error, attempt, 10, middle)
        assert "secret" not in fate.detail
        assert "hunter2" not in fate.detail


@given(attempt=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_wait_stays_within_its_bounds(attempt: int, chance: float) -> None:
    assert BACKOFF_SECONDS[0] <= backoff(attempt, BACKOFF_SECONDS, lambda: chance) <= BACKOFF_SECONDS[1]


def test_waits_double_and_are_spread() -> None:
    assert [backoff(attempt, BACKOFF_SECONDS, middle) for attempt in range(1, 8)] == [1, 2, 4, 8, 16, 32, 60]
    assert backoff(3, BACKOFF_SECONDS, lambda: 0.0) == 2
    assert backoff(3, BACKOFF_SECONDS, lambda: 0.99) == pytest.approx(5.96)
