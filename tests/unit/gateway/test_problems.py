"""Exceptions become problem documents; none is left over."""

import json

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from common.errors import (
    BodyTimeout,
    ChunksMissing,
    DatabaseFull,
    JobError,
    RangeNotSatisfiable,
    SluiceError,
    Unavailable,
    all_errors,
)
from gateway.problems import problem_headers, problem_response, translate


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_has_a_whole_document(kind: type[SluiceError]) -> None:
    response = problem_response(kind("Do this."), "id-1")
    document = json.loads(bytes(response.body))
    assert response.status_code == document["status"] == kind.status
    assert response.media_type == "application/problem+json"
    assert document == {
        "type": kind.type_uri or f"urn:sluice:problem:{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "Do this.",
        "code": kind.code,
        "request_id": "id-1",
    }
    assert response.headers["cache-control"] == "no-store"


def test_every_code_is_used_once() -> None:
    codes = [kind.code for kind in all_errors()]
    assert len(set(codes)) == len(codes)


def test_only_what_is_transient_says_when_to_come_back() -> None:
    for kind in all_errors():
        assert ("Retry-After" in problem_headers(kind("x"))) == issubclass(kind, Unavailable), kind
        full = issubclass(kind, DatabaseFull)  # no space is 507, also where it is the database's
        assert (kind.status == 503) == (issubclass(kind, Unavailable) and not full), kind


def test_no_job_error_is_ever_an_answer() -> None:
    assert {kind.status for kind in all_errors() if issubclass(kind, JobError)} == {500}


def test_extras_are_members() -> None:
    document = json.loads(bytes(problem_response(ChunksMissing("x", missing=[(0, 3)]), "i").body))
    assert document["missing"] == [[0, 3]]


def test_a_range_that_is_not_there_tells_the_size() -> None:
    assert problem_headers(RangeNotSatisfiable("x", size=7))["Content-Range"] == "bytes */7"


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "not_found"), (405, "method_not_allowed"), (400, "request_error"), (500, "internal_error")],
)
def test_what_the_framework_raises_is_translated(status: int, code: str) -> None:
    error = translate(HTTPException(status))
    assert (error.code, error.status) == (code, status)


def test_our_error_behind_the_frameworks_own_wins() -> None:
    outer = HTTPException(400)
    outer.__cause__ = BodyTimeout("slow")
    assert translate(outer) is outer.__cause__


def test_a_bug_does_not_show_its_inside() -> None:
    assert "secret" not in translate(ZeroDivisionError("secret")).detail


def test_a_malformed_request_names_its_fields() -> None:
    error = translate(RequestValidationError([{"loc": ("body", "size"), "msg": "Input should be a valid integer"}]))
    assert error.detail == "size: Input should be a valid integer."
    assert error.extras == {"errors": [{"field": "size", "message": "Input should be a valid integer"}]}


def test_a_request_without_json_is_told_what_to_send() -> None:
    assert "application/json" in translate(RequestValidationError([{"loc": ("body",), "msg": "Field required"}])).detail


def test_names_of_fields_that_are_no_text_can_be_answered() -> None:
    error = translate(RequestValidationError([{"loc": ("body", "\ud800"), "msg": "Extra"}]))
    assert json.loads(bytes(problem_response(error, "i").body))["errors"]


def test_what_a_client_sent_is_not_sent_back_at_any_length() -> None:
    error = translate(RequestValidationError([{"loc": ("body", "k" * 100_000), "msg": "m" * 100_000}] * 1000))
    assert len(bytes(problem_response(error, "i").body)) < 10_000
    assert error.extras["errors"][0]["field"] == "k" * 99 + "…"


def test_a_body_that_cannot_be_read_is_told_what_to_change() -> None:
    assert "UTF-8" in translate(HTTPException(400)).detail
