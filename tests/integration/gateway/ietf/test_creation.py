"""Resumable uploads: creation, cancellation and OPTIONS over a real gateway, worker and storage."""

import hashlib

import httpx
import pytest

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.ietf.client import PARTIAL, TYPES, Resumable
from tests.integration.gateway.rig import UNKNOWN, Gateway, Json, assert_problem

DATA = bytes(range(256)) * 40


def finished(gateway: Gateway, answer: httpx.Response) -> Json:
    """The file that came of a complete upload."""
    assert answer.status_code in (200, 202), answer.text
    job = gateway.ended(answer.json()["id"])
    assert job["state"] == "succeeded", job
    return dict(gateway.http.get(job["links"]["file"]).json())


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("path", ["/resumable", "/resumable/"])
def test_a_whole_file_comes_in_one_request_of_any_method(
    client: Resumable, gateway: Gateway, method: str, path: str
) -> None:
    answer = client.ask(method, path, DATA, Upload_Complete="?1")
    assert answer.headers["upload-complete"] == "?1"
    assert answer.headers["upload-offset"] == str(len(DATA))
    assert finished(gateway, answer)["digests"]["sha-256"] == hashlib.sha256(DATA).hexdigest()


def test_creation_without_bytes_tells_address_and_limits(client: Resumable) -> None:
    answer = client.create()
    assert answer.status_code == 201
    assert answer.headers["location"].startswith("/resumable/0")
    assert (answer.headers["upload-complete"], answer.headers["upload-offset"]) == ("?0", "0")
    assert answer.headers["upload-limit"].startswith(f"max-size={5 * 2**40}, max-age=86")


def test_creation_may_bring_the_first_bytes(client: Resumable) -> None:
    answer = client.create(DATA[:100], Upload_Length=len(DATA))
    assert (answer.status_code, answer.headers["upload-offset"]) == (201, "100")
    head = client.head(answer.headers["location"])
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == ("100", str(len(DATA)))


def test_an_empty_file_is_complete_when_it_says_so(client: Resumable, gateway: Gateway) -> None:
    assert finished(gateway, client.create(b"", True))["size"] == 0


def test_a_body_of_unknown_length_may_be_the_whole(gateway: Gateway) -> None:
    fields = {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "8"}
    answer = gateway.http.post("/resumable", content=iter([b"ab", b"cd"]), headers=fields)
    assert finished(gateway, answer)["size"] == 4


def test_name_and_type_are_those_of_the_creation(client: Resumable, gateway: Gateway) -> None:
    named = "inline; filename=\"file name.txt\"; filename*=UTF-8''%C3%A4.txt"
    file = finished(gateway, client.create(b"x", True, Content_Disposition=named, Content_Type="text/x-one"))
    assert (file["filename"], file["content_type"]) == ("ä.txt", "text/x-one")


def test_the_name_may_come_as_tus_clients_send_it(client: Resumable, gateway: Gateway) -> None:
    url = client.new(Upload_Metadata="filename YS50eHQ=,filetype dGV4dC9wbGFpbg==,project eA==")
    file = finished(gateway, client.patch(url, 0, b"x", True))
    assert (file["filename"], file["content_type"], file["metadata"]) == ("a.txt", "text/plain", {"project": "x"})


def test_metadata_that_is_malformed_is_ignored(client: Resumable) -> None:
    assert client.create(Upload_Metadata="filename !").status_code == 201


@pytest.mark.parametrize("text", [None, "1", "true", "?2", "?1, ?1"])
def test_without_a_readable_completeness_nothing_is_created(client: Resumable, text: str | None) -> None:
    assert_problem(client.create(b"x", True, Upload_Complete=text), 400, "invalid_field")


def test_a_malformed_length_is_ignored(client: Resumable) -> None:
    assert "upload-length" not in client.head(client.new(Upload_Length="ten")).headers


def test_lengths_that_differ_are_refused(client: Resumable) -> None:
    answer = client.create(DATA, True, Upload_Length=len(DATA) + 1)
    assert assert_problem(answer, 400, "inconsistent_length")["type"] == TYPES + "inconsistent-upload-length"


def test_an_upload_over_the_limit_is_413_with_the_limit(open_gateway: OpenGateway) -> None:
    client = Resumable(open_gateway(MAX_FILE_SIZE="1024").http)
    for answer in (client.create(Upload_Length=1025), client.patch(client.new(), 0, bytes(1025), False)):
        assert_problem(answer, 413, "file_too_large")
        assert answer.headers["upload-limit"].startswith("max-size=1024")


def test_first_bytes_that_are_refused_leave_nothing_behind(own_client: Resumable, own_gateway: Gateway) -> None:
    wrong = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
    assert_problem(own_client.create(b"abc", Content_Digest=wrong), 422, "digest_mismatch")
    assert set(own_gateway.states().values()) == {"aborted"}
    assert own_gateway.folders() == set()


def test_creation_is_refused_before_its_body(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.head("POST /resumable", Content_Length=5, Expect="100-continue")
        assert_problem(wire.answer(), 400, "invalid_field")


def test_a_cancelled_upload_is_gone(client: Resumable) -> None:
    url = client.new()
    assert client.ask("DELETE", url).status_code == 204
    assert client.ask("HEAD", url).status_code == 410
    assert_problem(client.patch(url, 0, b"x", True), 410, "upload_ended")


def test_cancellation_ends_an_append_in_flight(client: Resumable, gateway: Gateway) -> None:
    url = client.new()
    with gateway.wire() as wire:
        fields = {"Upload_Complete": "?1", "Content_Type": PARTIAL, "Expect": "100-continue"}
        wire.head(f"PATCH {url}", Content_Length=100, Upload_Offset=0, **fields)
        wire.answer()
        assert client.ask("DELETE", url).status_code == 204
        assert_problem(wire.answer(), 503, "append_interrupted")


@pytest.mark.parametrize("path", ["/resumable", "/resumable/", f"/resumable/{UNKNOWN}"])
def test_options_tell_limits_and_media_type(client: Resumable, path: str) -> None:
    answer = client.ask("OPTIONS", path)
    assert (answer.status_code, answer.headers["accept-patch"]) == (204, PARTIAL)
    assert answer.headers["upload-limit"] == f"max-size={5 * 2**40}, max-age=86400"


def test_the_surface_is_listed(gateway: Gateway) -> None:
    assert "ietf" in gateway.http.get("/v1/limits").json()["surfaces"]


@pytest.mark.parametrize("version", [3, 5, 6])
def test_older_versions_upload_at_once(gateway: Gateway, version: int) -> None:
    answer = Resumable(gateway.http, version).create(DATA, True)
    assert answer.headers["location"].startswith("/resumable/")
    assert finished(gateway, answer)["size"] == len(DATA)
