"""The extensions of tus 1.0 over a real gateway, worker and storage."""

import base64
import hashlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway, assert_problem
from tests.integration.gateway.tus.client import BODY_TYPE, Tus, metadata
from tests.integration.gateway.tus.test_core import finished


def sha1(data: bytes) -> str:
    return "sha1 " + base64.b64encode(hashlib.sha1(data).digest()).decode()


# --- creation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/tus", "/tus/"])
def test_creation_is_201_with_the_address(tus: Tus, path: str) -> None:
    answer = tus.ask("POST", path, Upload_Length=10)
    assert answer.status_code == 201
    assert answer.headers["location"].startswith("/tus/0")
    assert answer.headers["upload-offset"] == "0"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Upload_Length": "-1"},
        {"Upload_Length": "1.5"},
        {"Upload_Length": "x"},
        {"Upload_Length": 1, "Upload_Defer_Length": 1},
        {"Upload_Defer_Length": 2},
    ],
)
def test_creation_needs_a_length_or_its_deferral(tus: Tus, fields: dict[str, str | int | None]) -> None:
    assert_problem(tus.ask("POST", "/tus", **fields), 400, "invalid_field")


@pytest.mark.parametrize("length", [1025, 10**40])
def test_an_upload_over_the_limit_is_413(open_gateway: OpenGateway, length: int) -> None:
    tus = Tus(open_gateway(MAX_FILE_SIZE="1024").http)
    assert_problem(tus.create(length), 413, "file_too_large")
    assert tus.ask("OPTIONS", "/tus").headers["tus-max-size"] == "1024"


def test_an_empty_upload_is_complete_at_once(tus: Tus, gateway: Gateway) -> None:
    answer = tus.create(0, Upload_Metadata=metadata(filename="empty.txt"))
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "0")
    assert finished(gateway, answer)["size"] == 0


@pytest.mark.parametrize("text", ["filename YS50eHQ=,is_confidential", "filename  YS50eHQ= , b", "Stra\xc3\x9fe YQ=="])
def test_metadata_comes_back_as_it_was_received(tus: Tus, text: str) -> None:
    url = tus.http.post(
        "/tus",
        headers=[(b"Tus-Resumable", b"1.0.0"), (b"Upload-Length", b"1"), (b"Upload-Metadata", text.encode("latin-1"))],
    ).headers["location"]
    (value,) = [value for name, value in tus.head(url).headers.raw if name.lower() == b"upload-metadata"]
    assert value == text.strip().encode("latin-1")


def test_without_metadata_none_comes_back(tus: Tus) -> None:
    assert "upload-metadata" not in tus.head(tus.new(1)).headers


def test_metadata_goes_to_the_file(tus: Tus, gateway: Gateway) -> None:
    said = metadata(name="Bericht ä.txt", type="text/plain", project="x")
    file = finished(gateway, tus.create(1, b"x", Upload_Metadata=said))
    assert (file["filename"], file["content_type"], file["metadata"]) == (
        "Bericht ä.txt",
        "text/plain",
        {"project": "x"},
    )


@pytest.mark.parametrize("text", ["filename !", "a YQ==,a YQ==", ","])
def test_metadata_that_is_malformed_is_refused(tus: Tus, text: str) -> None:
    assert_problem(tus.create(1, Upload_Metadata=text), 400, "invalid_field")


@pytest.mark.parametrize("name", ["../x", "a/b", "a\nb"])
def test_a_name_that_is_none_is_refused_for_good(tus: Tus, name: str) -> None:
    assert_problem(tus.create(1, Upload_Metadata=metadata(filename=name)), 422, "invalid_filename")


# --- creation-with-upload ---------------------------------------------------------------------------------------


def test_creation_may_bring_the_first_bytes(tus: Tus) -> None:
    answer = tus.create(10, b"01234")
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "5")
    assert tus.offset(answer.headers["location"]) == 5


@pytest.mark.parametrize("media_type", ["application/octet-stream", "", "application/json"])
def test_a_body_of_another_type_is_not_taken(tus: Tus, gateway: Gateway, media_type: str) -> None:
    assert_problem(tus.create(10, b"01234", Content_Type=media_type), 415, "content_type_refused")


def test_first_bytes_that_are_refused_leave_nothing_behind(own_tus: Tus, own_gateway: Gateway) -> None:
    assert_problem(own_tus.create(3, b"01234"), 413, "upload_too_long")
    assert_problem(own_tus.create(5, b"01234", Upload_Checksum=sha1(b"other")), 460, "checksum_mismatch")
    assert set(own_gateway.states().values()) == {"aborted"}
    assert own_gateway.folders() == set()


def test_creation_is_refused_before_its_body(tus: Tus, gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.head("POST /tus", Tus_Resumable="1.0.0", Content_Length=5, Content_Type=BODY_TYPE, Expect="100-continue")
        assert_problem(wire.answer(), 400, "invalid_field")


# --- creation-defer-length --------------------------------------------------------------------------------------


def test_the_length_may_come_with_a_later_append(tus: Tus, gateway: Gateway) -> None:
    url = tus.new(Upload_Defer_Length=1)
    assert tus.head(url).headers["upload-defer-length"] == "1"
    assert "upload-length" not in tus.head(url).headers
    tus.patch(url, 0, b"01234")
    last = tus.patch(url, 5, b"56789", Upload_Length=10)
    assert finished(gateway, last)["size"] == 10


def test_the_length_may_come_before_the_last_append(tus: Tus, gateway: Gateway) -> None:
    url = tus.new(Upload_Defer_Length=1)
    tus.patch(url, 0, b"01234", Upload_Length=10)
    answer = tus.head(url)
    assert (answer.headers["upload-length"], answer.headers["upload-offset"]) == ("10", "5")
    assert "upload-defer-length" not in answer.headers


def test_the_length_may_come_with_an_empty_append(tus: Tus, gateway: Gateway) -> None:
    url = tus.new(Upload_Defer_Length=1)
    tus.patch(url, 0, b"01234")
    assert finished(gateway, tus.patch(url, 5, b"", Upload_Length=5))["size"] == 5


@pytest.mark.parametrize("length", [9, 11])
def test_a_length_does_not_change(tus: Tus, length: int) -> None:
    url = tus.new(10)
    assert_problem(tus.patch(url, 0, b"x", Upload_Length=length), 400, "inconsistent_length")
    assert tus.offset(url) == 0


def test_a_length_behind_the_offset_is_refused(tus: Tus) -> None:
    url = tus.new(Upload_Defer_Length=1)
    tus.patch(url, 0, b"01234")
    assert_problem(tus.patch(url, 5, b"", Upload_Length=4), 400, "inconsistent_length")


def test_a_length_at_a_wrong_offset_changes_nothing(tus: Tus) -> None:
    url = tus.new(Upload_Defer_Length=1)
    assert_problem(tus.patch(url, 5, b"", Upload_Length=10), 409, "offset_mismatch")
    assert tus.head(url).headers["upload-defer-length"] == "1"


# --- checksum ---------------------------------------------------------------------------------------------------


def test_bytes_with_the_right_checksum_count(tus: Tus) -> None:
    url = tus.new(11)
    answer = tus.patch(url, 0, b"hello world", Upload_Checksum="sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "11")


def test_bytes_with_another_checksum_are_460_and_do_not_count(tus: Tus) -> None:
    url = tus.new(11)
    answer = tus.patch(url, 0, b"hello world", Upload_Checksum=sha1(b"Hello world"))
    assert_problem(answer, 460, "checksum_mismatch")
    assert tus.offset(url) == 0


@pytest.mark.parametrize("text", ["sha3 YQ==", "sha1 YQ==", "sha1", ""])
def test_a_checksum_that_cannot_be_compared_is_400(tus: Tus, text: str) -> None:
    url = tus.new(11)
    assert_problem(tus.patch(url, 0, b"hello world", Upload_Checksum=text), 400, "invalid_field")
    assert tus.offset(url) == 0


def test_bytes_with_a_checksum_that_are_cut_do_not_count(tus: Tus, gateway: Gateway) -> None:
    url = tus.new(11)
    checksum = sha1(b"hello world")
    with gateway.wire() as wire:
        fields = {"Tus_Resumable": "1.0.0", "Content_Type": BODY_TYPE, "Upload_Checksum": checksum}
        wire.head(f"PATCH {url}", Content_Length=11, Upload_Offset=0, Expect="100-continue", **fields)
        wire.answer()
        wire.send(b"hello")
    assert tus.offset(url) == 0
    assert tus.patch(url, 0, b"hello world", Upload_Checksum=checksum).status_code == 204


# --- termination ------------------------------------------------------------------------------------------------


def test_a_terminated_upload_is_gone(tus: Tus) -> None:
    url = tus.new(10)
    assert tus.ask("DELETE", url).status_code == 204
    assert_problem(tus.patch(url, 0, b"x"), 410, "upload_ended")
    assert tus.head(url).status_code == 410
    assert tus.ask("DELETE", url).status_code == 410


def test_termination_interrupts_an_append(tus: Tus, gateway: Gateway) -> None:
    url = tus.new(100)
    with gateway.wire() as wire:
        fields = {"Tus_Resumable": "1.0.0", "Content_Type": BODY_TYPE, "Expect": "100-continue"}
        wire.head(f"PATCH {url}", Content_Length=100, Upload_Offset=0, **fields)
        wire.answer()
        assert tus.ask("DELETE", url).status_code == 204
        assert_problem(wire.answer(), 503, "append_interrupted")


def test_a_finished_upload_is_terminated_with_its_file(tus: Tus, gateway: Gateway) -> None:
    answer = tus.create(1, b"x")
    file = finished(gateway, answer)
    url = answer.headers["location"]
    assert tus.ask("DELETE", url).status_code == 204
    assert_problem(gateway.http.get(f"/v1/files/{file['id']}"), 404, "file_not_found")
    assert tus.head(url).status_code == 410


def test_an_upload_in_verification_is_terminated_later(own_tus: Tus) -> None:
    answer = own_tus.ask("DELETE", own_tus.new(1, b"x"))
    assert_problem(answer, 409, "upload_finalized")
    assert answer.headers["retry-after"] == "1"


# --- expiration -------------------------------------------------------------------------------------------------


def test_creation_appends_and_head_say_when_the_upload_expires(tus: Tus) -> None:
    answer = tus.create(10)
    for each in (answer, tus.patch(answer.headers["location"], 0, b"x"), tus.head(answer.headers["location"])):
        assert each.headers["upload-expires"].endswith(" GMT")
        hours = (parsedate_to_datetime(each.headers["upload-expires"]) - datetime.now(UTC)).total_seconds() / 3600
        assert 23 < hours <= 24


def test_what_is_complete_does_not_expire(tus: Tus) -> None:
    assert "upload-expires" not in tus.create(1, b"x").headers


def test_an_expired_upload_is_gone(own_tus: Tus, own_gateway: Gateway) -> None:
    url = own_tus.new(10)
    own_gateway.sql("UPDATE uploads SET state = 'expired'")
    assert own_tus.head(url).status_code == 410
    assert_problem(own_tus.patch(url, 0, b"x"), 410, "upload_ended")
