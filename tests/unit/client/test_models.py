"""JSON to dataclasses."""

from datetime import UTC, datetime
from typing import Any

import pytest

from client.errors import SluiceProtocolError
from client.models import FileInfo, Job, Limits, Upload

UPLOAD: dict[str, Any] = {
    "id": "u",
    "state": "open",
    "filename": "a",
    "size": 10,
    "chunk_size": 4,
    "chunk_count": 3,
    "received_bytes": 4,
    "missing": [[1, 2]],
    "expires_at": "2030-01-01T00:00:00Z",
}


def test_an_upload_is_read() -> None:
    upload = Upload.parse(UPLOAD)
    assert upload.missing == ((1, 2),)
    assert upload.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert upload.job_id is None


def test_unknown_members_are_kept_aside() -> None:
    assert Upload.parse({**UPLOAD, "shiny": 1}).raw["shiny"] == 1


@pytest.mark.parametrize(
    "wrong", [{"id": None}, {"size": "10"}, {"size": True}, {"missing": [1]}, {"missing": 4}, {"expires_at": "today"}]
)
def test_a_broken_answer_is_a_protocol_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(SluiceProtocolError):
        Upload.parse({**UPLOAD, **wrong})


def test_a_failed_job_is_finished_and_says_why() -> None:
    job = Job.parse({"id": "j", "state": "failed", "error": {"code": "chunks_damaged", "detail": "again"}})
    assert job.finished
    assert not job.succeeded
    assert job.error is not None
    assert job.error.code == "chunks_damaged"


@pytest.mark.parametrize("state", ["queued", "running", "a_state_of_a_later_version"])
def test_other_states_are_not_final(state: str) -> None:
    assert not Job.parse({"id": "j", "state": state}).finished


def test_a_file_needs_only_id_and_size() -> None:
    file = FileInfo.parse({"id": "f", "size": 0, "tags": None, "digests": {"sha-256": "ab"}})
    assert file.sha256 == "ab"
    assert file.tags == {}


def test_limits_may_say_nothing() -> None:
    assert Limits.parse({}).max_file_size is None
