"""Concatenation of tus 1.0 over a real gateway, worker and storage."""

import hashlib

import pytest

from tests.integration.gateway.rig import UNKNOWN, Gateway, assert_problem
from tests.integration.gateway.tus.client import Tus, metadata
from tests.integration.gateway.tus.test_core import finished


def partial(tus: Tus, body: bytes) -> str:
    return tus.new(len(body), body or None, Upload_Concat="partial")


def final(*urls: str) -> str:
    return f"final;{' '.join(urls)}"


def test_it_is_offered(tus: Tus) -> None:
    extensions = tus.ask("OPTIONS", "/tus").headers["tus-extension"].split(",")
    assert {"concatenation", "concatenation-unfinished"} <= set(extensions)


def test_parts_become_one_file_in_their_order(tus: Tus, gateway: Gateway) -> None:
    one, two = partial(tus, b"hello"), partial(tus, b" world")
    answer = tus.create(Upload_Concat=final(one, two), Upload_Metadata=metadata(filename="both.txt"))
    file = finished(gateway, answer)
    assert (file["filename"], file["size"]) == ("both.txt", 11)
    assert file["digests"]["sha-256"] == hashlib.sha256(b"hello world").hexdigest()
    head = tus.head(answer.headers["location"])
    assert (head.headers["upload-length"], head.headers["upload-offset"]) == ("11", "11")


def test_a_part_may_be_used_twice(tus: Tus, gateway: Gateway) -> None:
    part = partial(tus, b"ab")
    first = finished(gateway, tus.create(Upload_Concat=final(part, part)))
    second = finished(gateway, tus.create(Upload_Concat=final(part)))
    assert (first["size"], second["size"]) == (4, 2)


def test_as_many_parts_as_an_upload_may_have_fit_into_a_request_head(tus: Tus, gateway: Gateway) -> None:
    part = partial(tus, b"ab")
    assert finished(gateway, tus.create(Upload_Concat=final(*[part] * 1000)))["size"] == 2000


def test_parts_that_do_not_fit_into_a_request_head_are_refused_as_that(tus: Tus, gateway: Gateway) -> None:
    address = f"https://uploads.example.com{partial(tus, b'ab')}"
    with gateway.wire() as wire:
        wire.head("POST /tus", Tus_Resumable="1.0.0", Content_Length=0, Upload_Concat=final(*[address] * 1000))
        assert_problem(wire.answer(), 431, "headers_too_large")


def test_a_partial_upload_is_no_file_by_itself(tus: Tus) -> None:
    answer = tus.create(1, b"x", Upload_Concat="partial")
    assert "link" not in answer.headers
    assert_problem(tus.http.get(answer.headers["location"]), 409, "upload_not_finished")


def test_the_field_comes_back_as_it_was_received(own_tus: Tus) -> None:
    part = partial(own_tus, b"ab")
    assert own_tus.head(part).headers["upload-concat"] == "partial"
    value = f"final;http://example.com{part} {part}"
    head = own_tus.head(own_tus.new(Upload_Concat=value))
    assert head.headers["upload-concat"] == value
    assert head.headers["upload-length"] == "4"
    assert "upload-offset" not in head.headers  # there is no worker: it is not put together


def test_parts_may_arrive_after_the_final_upload_is_created(tus: Tus, gateway: Gateway) -> None:
    one, two = partial(tus, b"hello"), tus.new(6, Upload_Concat="partial")
    url = tus.new(Upload_Concat=final(one, two))
    assert "upload-offset" not in tus.head(url).headers
    assert "link" not in tus.head(url).headers
    assert tus.patch(two, 0, b" world").status_code == 204
    assert finished(gateway, tus.head(url))["size"] == 11


@pytest.mark.parametrize("fields", [{"Upload_Length": 2}, {"Upload_Defer_Length": 1}])
def test_a_final_upload_has_no_length_of_its_own(tus: Tus, fields: dict[str, str | int | None]) -> None:
    assert_problem(tus.create(Upload_Concat=final(partial(tus, b"ab")), **fields), 400, "invalid_field")


def test_a_final_upload_takes_no_bytes(tus: Tus) -> None:
    concat = final(partial(tus, b"ab"))
    assert_problem(tus.create(None, b"x", Upload_Concat=concat), 400, "invalid_field")
    assert_problem(tus.patch(tus.new(Upload_Concat=concat), 2, b"x"), 403, "final_upload")


def test_what_is_not_partial_cannot_be_a_part(tus: Tus) -> None:
    assert_problem(tus.create(Upload_Concat=final(tus.new(1))), 400, "invalid_field")
    assert_problem(tus.create(Upload_Concat=final(f"/tus/{UNKNOWN}")), 404, "upload_not_found")
    ended = partial(tus, b"ab")
    tus.ask("DELETE", ended)
    assert_problem(tus.create(Upload_Concat=final(ended)), 410, "upload_ended")


@pytest.mark.parametrize("text", ["final;", "final", "other", "final;/elsewhere/x"])
def test_a_field_that_names_no_parts_is_refused(tus: Tus, text: str) -> None:
    assert_problem(tus.create(Upload_Concat=text), 400, "invalid_field")


def test_what_was_said_of_the_parts_is_not_said_of_the_final_upload(tus: Tus, gateway: Gateway) -> None:
    part = tus.new(2, b"ab", Upload_Concat="partial", Upload_Metadata=metadata(filename="part.txt", project="x"))
    answer = tus.create(Upload_Concat=final(part), Upload_Metadata=metadata(filename="whole.txt"))
    file = finished(gateway, answer)
    assert (file["filename"], file["metadata"]) == ("whole.txt", {})
