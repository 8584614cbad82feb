"""The states of uploads, jobs and files, and the moves between them. Pure: no I/O.

Every move is one compare-and-set statement in `common.db.repository`; these tables say which moves exist.
"""

from __future__ import annotations

from enum import StrEnum


class UploadState(StrEnum):
    OPEN = "open"
    FINALIZING = "finalizing"
    COMPLETE = "complete"
    FAILED = "failed"
    ABORTED = "aborted"
    EXPIRED = "expired"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobKind(StrEnum):
    FINALIZE = "finalize"
    METADATA = "metadata"


class FileState(StrEnum):
    READY = "ready"
    CORRUPT = "corrupt"  # other bytes than were published, or none; shown, never sent, until the scrub finds them right
    DELETING = "deleting"


UPLOAD_MOVES: dict[UploadState, frozenset[UploadState]] = {
    UploadState.OPEN: frozenset({UploadState.FINALIZING, UploadState.ABORTED, UploadState.EXPIRED}),
    # back to open when read-back finds damaged chunks: the client sends only those again
    UploadState.FINALIZING: frozenset({UploadState.COMPLETE, UploadState.FAILED, UploadState.OPEN}),
    UploadState.COMPLETE: frozenset(),
    UploadState.FAILED: frozenset(),
    UploadState.ABORTED: frozenset(),
    UploadState.EXPIRED: frozenset(),
}

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED, JobState.CANCELLED}
    ),  # back to queued: retry, lost lease, shutdown
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),  # a dead letter that is re-driven
    JobState.CANCELLED: frozenset(),
}

UPLOAD_FINAL = frozenset(state for state, moves in UPLOAD_MOVES.items() if not moves)
JOB_FINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


def may_move(before: UploadState | JobState, after: UploadState | JobState) -> bool:
    """Whether the move exists. Both states must be of the same kind."""
    if isinstance(before, UploadState):
        return after in UPLOAD_MOVES[before]
    return after in JOB_MOVES[before]
