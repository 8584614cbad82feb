"""A file whose bytes were found to be damaged: shown, never sent."""

import pytest

from tests.integration.gateway.rig import Gateway, Json, assert_problem


@pytest.fixture
def corrupt(gateway: Gateway) -> Json:
    """A published file that the scrub has marked."""
    file = gateway.publish(b"0123456789")
    gateway.sql("UPDATE files SET state = 'corrupt' WHERE id = ?", file["id"])
    return file


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-3"}])
def test_its_content_is_refused_with_a_reason(gateway: Gateway, corrupt: Json, headers: dict[str, str]) -> None:
    answer = gateway.http.get(corrupt["links"]["content"], headers=headers)
    assert_problem(answer, 500, "file_corrupt")
    assert "retry-after" not in answer.headers


def test_a_head_says_the_same_as_a_get(gateway: Gateway, corrupt: Json) -> None:
    assert gateway.http.head(corrupt["links"]["content"]).status_code == 500


def test_who_has_the_right_bytes_already_is_told_so(gateway: Gateway, corrupt: Json) -> None:
    sha256 = corrupt["digests"]["sha-256"]
    answer = gateway.http.get(corrupt["links"]["content"], headers={"If-None-Match": f'"{sha256}"'})
    assert answer.status_code == 304


def test_it_is_shown_and_listed_with_its_state(gateway: Gateway, corrupt: Json) -> None:
    assert gateway.http.get(corrupt["links"]["self"]).json()["state"] == "corrupt"
    listed = gateway.http.get("/v1/files?limit=1000").json()["items"]
    assert {file["state"] for file in listed if file["id"] == corrupt["id"]} == {"corrupt"}


def test_it_can_be_deleted(gateway: Gateway, corrupt: Json) -> None:
    assert gateway.http.delete(corrupt["links"]["self"]).status_code == 204
    assert_problem(gateway.http.get(corrupt["links"]["content"]), 404, "file_not_found")


def test_a_file_that_lost_its_end_is_a_clean_error_and_never_a_short_body(gateway: Gateway) -> None:
    file = gateway.publish(b"0123456789")
    [path] = (gateway.folder / "storage").glob(f"*/files/*/{file['id']}")
    path.chmod(0o640)
    path.write_bytes(b"01234567")
    assert_problem(gateway.http.get(file["links"]["content"]), 503, "storage_unavailable")
