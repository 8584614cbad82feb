"""Resumable uploads: offsets, appends, digests and older versions over a real gateway, worker and storage."""

import base64
import hashlib

import pytest

from tests.integration.gateway.ietf.client import PARTIAL, TYPES, Resumable
from tests.integration.gateway.ietf.test_creation import DATA, finished
from tests.integration.gateway.rig import UNKNOWN, Gateway, assert_problem, until


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


# --- offset retrieval -------------------------------------------------------------------------------------------


def test_head_tells_offset_completeness_and_limits_and_is_not_cached(client: Resumable) -> None:
    fields = client.head(client.new()).headers
    assert (fields["upload-offset"], fields["upload-complete"], fields["cache-control"]) == ("0", "?0", "no-store")
    assert "max-age=" in fields["upload-limit"]
    assert "upload-length" not in fields


@pytest.mark.parametrize(("name", "value"), [("Upload_Offset", "0"), ("Upload_Complete", "?0")])
def test_a_head_that_says_what_it_asks_for_is_refused(client: Resumable, name: str, value: str) -> None:
    assert client.ask("HEAD", client.new(), None, **{name: value}).status_code == 400


def test_what_there_never_was_is_404(client: Resumable) -> None:
    assert client.ask("HEAD", f"/resumable/{UNKNOWN}").status_code == 404
    assert client.patch(f"/resumable/{UNKNOWN}", 0, b"x", False).status_code == 404


def test_head_of_a_file_tells_its_digests(client: Resumable, gateway: Gateway) -> None:
    answer = client.create(DATA, True)
    finished(gateway, answer)
    fields = client.head(answer.headers["location"]).headers
    assert (fields["upload-complete"], fields["upload-offset"]) == ("?1", str(len(DATA)))
    assert digest(DATA) in fields["repr-digest"]


# --- append -----------------------------------------------------------------------------------------------------


def test_bytes_appended_in_pieces_become_the_file(client: Resumable, gateway: Gateway) -> None:
    url = client.new()
    answer = client.patch(url, 0, DATA[:100], False)
    assert answer.status_code == 204
    assert (answer.headers["upload-complete"], answer.headers["upload-offset"]) == ("?0", "100")
    last = client.patch(url, 100, DATA[100:], True)
    assert last.headers["upload-complete"] == "?1"
    assert finished(gateway, last)["digests"]["sha-256"] == hashlib.sha256(DATA).hexdigest()


def test_an_empty_append_may_be_the_last(client: Resumable, gateway: Gateway) -> None:
    url = client.new()
    client.patch(url, 0, DATA, False)
    assert finished(gateway, client.patch(url, len(DATA), b"", True))["size"] == len(DATA)


def test_all_bytes_are_no_complete_upload(client: Resumable, gateway: Gateway) -> None:
    url = client.new(Upload_Length=3)
    client.patch(url, 0, b"abc", False)
    assert client.head(url).headers["upload-complete"] == "?0"
    assert finished(gateway, client.patch(url, 3, b"", True))["size"] == 3


@pytest.mark.parametrize("offset", [0, 99, 101])
def test_another_offset_is_409_with_the_right_one(client: Resumable, offset: int) -> None:
    url = client.new()
    client.patch(url, 0, DATA[:100], False)
    answer = client.patch(url, offset, DATA[100:], True)
    problem = assert_problem(answer, 409, "offset_mismatch")
    assert problem["type"] == TYPES + "mismatching-upload-offset"
    assert (problem["expected-offset"], problem["provided-offset"]) == (100, offset)
    assert (answer.headers["upload-offset"], answer.headers["upload-complete"]) == ("100", "?0")
    assert client.offset(url) == 100


@pytest.mark.parametrize("text", [None, "-1", "ten", "1.0", "?1"])
def test_an_append_without_a_readable_offset_is_refused(client: Resumable, text: str | None) -> None:
    assert_problem(client.patch(client.new(), 0, b"x", False, Upload_Offset=text), 400, "invalid_field")


def test_an_append_without_a_readable_completeness_is_refused(client: Resumable) -> None:
    assert_problem(client.patch(client.new(), 0, b"x", False, Upload_Complete=None), 400, "invalid_field")


@pytest.mark.parametrize("text", [None, "application/offset+octet-stream", "*/*"])
def test_an_append_of_another_type_is_415(client: Resumable, text: str | None) -> None:
    answer = client.patch(client.new(), 0, b"x", False, Content_Type=text)
    assert_problem(answer, 415, "content_type_refused")
    assert answer.headers["accept-patch"] == PARTIAL


def test_more_than_the_length_ends_the_upload(client: Resumable) -> None:
    url = client.new(Upload_Length=3)
    assert_problem(client.patch(url, 0, b"abcd", False), 400, "inconsistent_length")
    assert client.ask("HEAD", url).status_code == 410
    assert_problem(client.patch(url, 0, b"abc", True), 410, "upload_ended")


@pytest.mark.parametrize("length", [9, 11])
def test_a_length_does_not_change(client: Resumable, length: int) -> None:
    url = client.new(Upload_Length=10)
    assert_problem(client.patch(url, 0, b"x", False, Upload_Length=length), 400, "inconsistent_length")
    assert_problem(client.patch(url, 0, b"x" * 9, True), 400, "inconsistent_length")
    assert client.offset(url) == 0


def test_an_append_that_is_cut_is_kept_and_its_length_is_known(client: Resumable, gateway: Gateway) -> None:
    url = client.new()
    with gateway.wire() as wire:
        wire.head(f"PATCH {url}", Upload_Complete="?1", Upload_Offset=0, Content_Type=PARTIAL, Content_Length=100_000)
        wire.send(DATA)
    until(lambda: gateway.look({"id": url.rpartition("/")[2]})["received_bytes"] == len(DATA))
    fields = client.head(url).headers
    assert (fields["upload-length"], fields["upload-offset"]) == ("100000", str(len(DATA)))
    assert fields["upload-complete"] == "?0"


def test_a_complete_upload_takes_no_more(client: Resumable) -> None:
    url = client.create(b"abc", True).headers["location"]
    assert_problem(client.patch(url, 3, b"d", True), 400, "inconsistent_length")
    answer = client.patch(url, 3, b"", True)
    assert assert_problem(answer, 400, "completed_upload")["type"] == TYPES + "completed-upload"
    assert answer.headers["upload-complete"] == "?1"


def test_a_request_that_comes_second_ends_the_first(client: Resumable, gateway: Gateway) -> None:
    url = client.new()
    with gateway.wire() as wire:
        fields = {"Upload_Complete": "?1", "Content_Type": PARTIAL, "Expect": "100-continue"}
        wire.head(f"PATCH {url}", Content_Length=100_000, Upload_Offset=0, **fields)
        assert wire.answer().status_code == 100
        assert client.offset(url) == 0
        assert_problem(wire.answer(), 503, "append_interrupted")


# --- digests ----------------------------------------------------------------------------------------------------


def test_bytes_with_another_digest_do_not_count(client: Resumable) -> None:
    url = client.new()
    answer = client.patch(url, 0, b"abc", False, Content_Digest=digest(b"abd"))
    assert_problem(answer, 422, "digest_mismatch")
    assert client.offset(url) == 0
    assert client.patch(url, 0, b"abc", False, Content_Digest=digest(b"abc")).status_code == 204


def test_a_file_with_another_digest_is_told_so_and_is_gone(client: Resumable) -> None:
    url = client.new(Repr_Digest=digest(b"abd"))
    answer = client.patch(url, 0, b"abc", True)
    assert_problem(answer, 422, "digest_mismatch")
    assert answer.headers["upload-complete"] == "?1"
    assert client.ask("HEAD", url).status_code == 410


def test_the_last_append_may_bring_the_digest_of_the_whole(client: Resumable, gateway: Gateway) -> None:
    url = client.new()
    client.patch(url, 0, b"ab", False)
    answer = client.patch(url, 2, b"c", True, Repr_Digest=digest(b"abc"))
    assert answer.json()["state"] == "succeeded"  # it waited, since there was something to compare
    assert finished(gateway, answer)["digests"]["sha-256"] == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("last", [b"c", b""])
def test_a_file_with_another_digest_than_the_last_append_says_is_told_so_and_is_gone(
    client: Resumable, last: bytes
) -> None:
    url = client.new()
    client.patch(url, 0, b"ab", False)
    answer = client.patch(url, 2, last, True, Repr_Digest=digest(b"abd"))
    assert_problem(answer, 422, "digest_mismatch")
    assert client.ask("HEAD", url).status_code == 410


def test_the_digest_of_the_last_append_must_be_that_of_the_creation(client: Resumable, gateway: Gateway) -> None:
    url = client.new(Repr_Digest=digest(b"abc"))
    answer = client.patch(url, 0, b"abc", True, Repr_Digest=digest(b"abd"))
    assert_problem(answer, 422, "invalid_digest")
    assert client.offset(url) == 0  # refused before anything was read
    assert finished(gateway, client.patch(url, 0, b"abc", True, Repr_Digest=digest(b"abc")))["size"] == 3


def test_a_digest_of_the_whole_counts_with_the_last_append_only(client: Resumable, gateway: Gateway) -> None:
    url = client.new()
    assert client.patch(url, 0, b"ab", False, Repr_Digest=digest(b"ab")).status_code == 204
    assert finished(gateway, client.patch(url, 2, b"c", True))["size"] == 3


@pytest.mark.parametrize("at_creation", [True, False])
def test_wanted_digests_come_with_the_last_answer(client: Resumable, at_creation: bool) -> None:
    wanted: dict[str, str | int | None] = {"Want_Repr_Digest": "sha-256=5, md5=9"}
    url = client.new(**(wanted if at_creation else {}))
    answer = client.patch(url, 0, b"abc", True, **({} if at_creation else wanted))
    assert answer.headers["repr-digest"] == digest(b"abc")
    assert answer.json()["state"] == "succeeded"


# --- older versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [3, 5, 6])
def test_older_versions_upload_in_pieces(gateway: Gateway, version: int) -> None:
    client = Resumable(gateway.http, version)
    url = client.new()
    answer = client.patch(url, 0, DATA[:100], False)
    name, no, yes = ("upload-incomplete", "?1", "?0") if version == 3 else ("upload-complete", "?0", "?1")
    assert (answer.status_code, answer.headers[name]) == (201 if version < 6 else 204, no)
    assert answer.headers["upload-draft-interop-version"] == str(version)
    assert client.head(url).headers[name] == no
    last = client.patch(url, 100, DATA[100:], True)
    assert last.headers[name] == yes
    assert finished(gateway, last)["size"] == len(DATA)


def test_a_stream_may_end_with_its_length_only(gateway: Gateway) -> None:
    """As tus-js-client does where the last chunk was a full one."""
    client = Resumable(gateway.http, 6)
    url = client.new()
    client.patch(url, 0, b"abcd", False)
    assert finished(gateway, client.patch(url, 4, b"", False, Upload_Length=4, Upload_Complete=None))["size"] == 4


@pytest.mark.parametrize("version", [5, 6])
def test_a_length_that_is_reached_is_the_end_for_tus_js_client(gateway: Gateway, version: int) -> None:
    """It says of the last of several chunks that it is not the last."""
    client = Resumable(gateway.http, version)
    url = client.new(Upload_Length=6)
    assert client.patch(url, 0, b"abc", False).headers["upload-complete"] == "?0"
    last = client.patch(url, 3, b"def", False)
    assert (last.headers["upload-complete"], last.headers["upload-offset"]) == ("?1", "6")
    assert finished(gateway, last)["size"] == 6


def test_an_empty_file_needs_no_second_request(gateway: Gateway) -> None:
    """As tus-js-client has it: it takes any success with a Location for the creation, and the file for uploaded."""
    answer = Resumable(gateway.http, 6).create(Upload_Length=0)
    assert answer.headers["location"].startswith("/resumable/")
    assert finished(gateway, answer)["size"] == 0
