"""States and the moves between them."""

import pytest

from common.db.models import NOT_LIVE
from common.states import JOB_FINAL, JOB_MOVES, UPLOAD_FINAL, UPLOAD_MOVES, JobState, UploadState, may_move


def test_every_state_has_its_moves() -> None:
    assert set(UPLOAD_MOVES) == set(UploadState)
    assert set(JOB_MOVES) == set(JobState)


def test_every_upload_state_is_reached_and_left_or_final() -> None:
    reached = set().union(*UPLOAD_MOVES.values()) | {UploadState.OPEN}
    assert reached == set(UploadState)
    assert {"complete", "failed", "aborted", "expired"} == UPLOAD_FINAL


def test_a_job_can_always_come_to_an_end() -> None:
    for start in JobState:
        seen, waiting = {start}, [start]
        while waiting:
            for following in JOB_MOVES[waiting.pop()] - seen:
                seen.add(following)
                waiting.append(following)
        assert seen & JOB_FINAL, start
    assert {"succeeded", "failed", "cancelled"} == JOB_FINAL


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (UploadState.OPEN, UploadState.FINALIZING, True),
        (UploadState.FINALIZING, UploadState.OPEN, True),
        (UploadState.FINALIZING, UploadState.ABORTED, False),
        (UploadState.COMPLETE, UploadState.OPEN, False),
        (UploadState.OPEN, UploadState.COMPLETE, False),
        (JobState.QUEUED, JobState.RUNNING, True),
        (JobState.RUNNING, JobState.QUEUED, True),
        (JobState.QUEUED, JobState.SUCCEEDED, False),
        (JobState.FAILED, JobState.QUEUED, True),
        (JobState.SUCCEEDED, JobState.QUEUED, False),
    ],
)
def test_moves(before: UploadState | JobState, after: UploadState | JobState, allowed: bool) -> None:
    assert may_move(before, after) is allowed


def test_the_index_of_uploads_that_have_ended_leaves_out_those_that_live() -> None:
    living = {f"'{state}'" for state in set(UploadState) - UPLOAD_FINAL}
    assert set(NOT_LIVE.removeprefix("state NOT IN (").removesuffix(")").split(", ")) == living
