"""The core protocol of tus 1.0 over a real gateway, worker and storage."""

import hashlib

import httpx
import pytest

from tests.integration.gateway.rig import UNKNOWN, Gateway, Json, assert_problem, until
from tests.integration.gateway.tus.client import BODY_TYPE, Tus, metadata

DATA = bytes(range(256)) * 40
APPEND: dict[str, str | int] = {"Tus_Resumable": "1.0.0", "Upload_Offset": 0, "Content_Type": BODY_TYPE}


def finished(gateway: Gateway, answer: httpx.Response) -> Json:
    """The file that came of a complete upload, by the link to its job."""
    link = answer.headers["link"]
    job = gateway.ended(link.partition(">")[0].rpartition("/")[2])
    assert job["state"] == "succeeded", job
    return dict(gateway.http.get(job["links"]["file"]).json())


# --- HEAD ---------------------------------------------------------------------------------------------------


def test_head_tells_offset_and_length_and_is_not_cached(tus: Tus) -> None:
    answer = tus.head(tus.new(10))
    assert answer.status_code == 200
    assert answer.headers["upload-offset"] == "0"
    assert answer.headers["upload-length"] == "10"
    assert answer.headers["cache-control"] == "no-store"
    assert "upload-defer-length" not in answer.headers


def test_head_of_a_complete_upload_tells_its_offset(tus: Tus) -> None:
    answer = tus.head(tus.new(3, b"abc"))
    assert (answer.headers["upload-offset"], answer.headers["upload-length"]) == ("3", "3")


@pytest.mark.parametrize("name", [UNKNOWN, "x"])
def test_what_there_never_was_is_404_without_an_offset(tus: Tus, name: str) -> None:
    answer = tus.head(f"/tus/{name}")
    assert answer.status_code == 404
    assert "upload-offset" not in answer.headers
    assert tus.patch(f"/tus/{name}", 0, b"x").status_code == 404


def test_an_upload_in_chunks_is_no_stream(tus: Tus, gateway: Gateway) -> None:
    assert tus.head(f"/tus/{gateway.create(10)['id']}").status_code == 404


# --- PATCH --------------------------------------------------------------------------------------------------


def test_bytes_appended_in_pieces_become_the_file(tus: Tus, gateway: Gateway) -> None:
    url = tus.new(len(DATA), Upload_Metadata=metadata(filename="all.bin", filetype="text/x-all"))
    assert tus.patch(url, 0, DATA[:100]).headers["upload-offset"] == "100"
    assert tus.patch(url, 100, DATA[100:101]).headers["upload-offset"] == "101"
    last = tus.patch(url, 101, DATA[101:])
    assert (last.status_code, last.headers["upload-offset"], last.content) == (204, str(len(DATA)), b"")
    file = finished(gateway, last)
    assert (file["filename"], file["content_type"], file["size"]) == ("all.bin", "text/x-all", len(DATA))
    assert file["digests"]["sha-256"] == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize("offset", [0, 4, 6, 10**30])
def test_another_offset_is_409_and_changes_nothing(tus: Tus, offset: int) -> None:
    url = tus.new(10)
    tus.patch(url, 0, b"01234")
    answer = tus.patch(url, offset, b"56789")
    assert_problem(answer, 409, "offset_mismatch")
    assert answer.json()["expected_offset"] == 5
    assert tus.offset(url) == 5


@pytest.mark.parametrize("text", ["", "-1", "1.0", "five", None])
def test_a_patch_without_a_readable_offset_is_refused(tus: Tus, text: str | None) -> None:
    assert_problem(tus.patch(tus.new(10), 0, b"x", Upload_Offset=text), 400, "invalid_field")


@pytest.mark.parametrize("text", [None, "application/octet-stream", "application/partial-upload"])
def test_a_patch_of_another_type_is_415(tus: Tus, text: str | None) -> None:
    url = tus.new(10)
    answer = tus.patch(url, 0, b"x", Content_Type=text)
    assert_problem(answer, 415, "content_type_refused")
    assert answer.headers["accept-patch"] == BODY_TYPE
    assert tus.offset(url) == 0


def test_more_than_the_length_is_413(tus: Tus) -> None:
    assert_problem(tus.patch(tus.new(3), 0, b"1234"), 413, "upload_too_long")


def test_more_than_the_length_is_413_also_where_nothing_announces_it(tus: Tus) -> None:
    url = tus.new(3)

    def body() -> object:
        yield b"12"
        yield b"34"

    answer = tus.http.patch(
        url,
        content=body(),  # type: ignore[arg-type]
        headers={"Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": BODY_TYPE},
    )
    assert_problem(answer, 413, "upload_too_long")


@pytest.mark.parametrize("length", [0, 2])
def test_more_than_the_length_is_413_at_the_creation_too(tus: Tus, length: int) -> None:
    def body() -> object:
        yield b"123"

    assert_problem(tus.create(length, b"123"), 413, "upload_too_long")
    fields = {"Tus-Resumable": "1.0.0", "Upload-Length": str(length), "Content-Type": BODY_TYPE}
    answer = tus.http.post("/tus", content=body(), headers=fields)  # type: ignore[arg-type]
    assert_problem(answer, 413, "upload_too_long")


@pytest.mark.parametrize("length", [5, 4])
def test_an_empty_body_at_the_offset_is_fine(tus: Tus, length: int) -> None:
    url = tus.new(length)
    tus.patch(url, 0, b"1234")
    answer = tus.patch(url, 4, b"")
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "4")


def test_what_came_before_the_connection_broke_is_kept(tus: Tus, gateway: Gateway) -> None:
    url = tus.new(100_000)
    with gateway.wire() as wire:
        wire.head(f"PATCH {url}", Content_Length=100_000, **APPEND)
        wire.send(DATA)
    until(lambda: gateway.look({"id": url.rpartition("/")[2]})["received_bytes"] == len(DATA))
    assert tus.offset(url) == len(DATA)


def test_a_request_that_comes_second_makes_the_first_let_go(tus: Tus, gateway: Gateway) -> None:
    url = tus.new(100_000)
    with gateway.wire() as wire:
        wire.head(f"PATCH {url}", Content_Length=100_000, Expect="100-continue", **APPEND)
        assert wire.answer().status_code == 100
        wire.send(DATA)
        assert tus.offset(url) <= len(DATA)
        assert_problem(wire.answer(), 503, "append_interrupted")


# --- versions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0", "2.0.0", ""])
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "HEAD"])
def test_another_version_is_412_and_nothing_happens(tus: Tus, method: str, version: str | None) -> None:
    url = tus.new(10)
    answer = tus.ask(
        method,
        "/tus" if method == "POST" else url,
        Tus_Resumable=version,
        Upload_Offset=0,
        Upload_Length=10,
        Content_Type=BODY_TYPE,
    )
    assert answer.status_code == 412
    assert answer.headers["tus-version"] == "1.0.0"
    assert tus.offset(url) == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("HEAD", f"/tus/{UNKNOWN}", 404), ("PUT", "/tus", 405), ("GET", "/tus/x/y", 404), ("OPTIONS", "/tus", 204)],
)
def test_every_answer_names_the_version(tus: Tus, method: str, path: str, status: int) -> None:
    answer = tus.ask(method, path)
    assert (answer.status_code, answer.headers["tus-resumable"]) == (status, "1.0.0")


def test_what_no_route_sees_names_the_version_too(tus: Tus) -> None:
    answer = tus.create(10, Content_Encoding="gzip")
    assert (answer.status_code, answer.headers["tus-resumable"]) == (415, "1.0.0")


def test_no_other_surface_speaks_tus(tus: Tus) -> None:
    assert "tus-resumable" not in tus.http.get("/v1/limits").headers
    assert "tus-resumable" not in tus.http.get("/tusk").headers


# --- OPTIONS and methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/tus", "/tus/", f"/tus/{UNKNOWN}"])
@pytest.mark.parametrize("version", [None, "0.0.1"])
def test_options_tell_what_there_is(tus: Tus, path: str, version: str | None) -> None:
    answer = tus.ask("OPTIONS", path, Tus_Resumable=version)
    assert answer.status_code == 204
    assert answer.headers["tus-version"] == "1.0.0"
    assert int(answer.headers["tus-max-size"]) == 5 * 2**40
    assert {"creation", "checksum", "termination", "expiration"} <= set(answer.headers["tus-extension"].split(","))
    assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")


@pytest.mark.parametrize("method", ["PATCH", "patch"])
def test_a_post_may_stand_for_a_patch(tus: Tus, method: str) -> None:
    url = tus.new(10)
    answer = tus.ask("POST", url, b"abc", X_HTTP_Method_Override=method, Upload_Offset=0, Content_Type=BODY_TYPE)
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "3")


def test_a_post_may_stand_for_head_and_delete(tus: Tus) -> None:
    url = tus.new(10)
    assert tus.ask("POST", url, X_HTTP_Method_Override="HEAD").headers["upload-offset"] == "0"
    assert tus.ask("POST", url, X_HTTP_Method_Override="DELETE").status_code == 204
    assert tus.head(url).status_code == 410


def test_a_post_that_stands_for_a_head_needs_the_version(tus: Tus, gateway: Gateway) -> None:
    answer = tus.create(3, b"abc")
    finished(gateway, answer)
    got = tus.ask("POST", answer.headers["location"], X_HTTP_Method_Override="HEAD", Tus_Resumable=None)
    assert_problem(got, 412, "version_not_supported")


def test_white_space_behind_a_value_is_none_of_it(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.head("POST /tus", Tus_Resumable="1.0.0 ", Upload_Length="5\t ")
        assert wire.answer().status_code == 201


def test_another_method_is_405_with_those_that_there_are(tus: Tus) -> None:
    answer = tus.ask("PUT", f"/tus/{UNKNOWN}")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


# --- downloads ------------------------------------------------------------------------------------------------


def test_a_finished_upload_can_be_downloaded(tus: Tus, gateway: Gateway) -> None:
    answer = tus.create(len(DATA), DATA, Upload_Metadata=metadata(filename="a.bin"))
    finished(gateway, answer)
    url = answer.headers["location"]
    got = gateway.http.get(url, headers={"Range": "bytes=5-9"})
    assert (got.status_code, got.content) == (206, DATA[5:10])
    assert gateway.http.head(url).headers["content-length"] == str(len(DATA))
    assert "a.bin" in gateway.http.get(url).headers["content-disposition"]


def test_an_unfinished_upload_cannot_be_downloaded(own_tus: Tus) -> None:
    assert_problem(own_tus.http.get(own_tus.new(10)), 409, "upload_not_finished")
    assert_problem(own_tus.http.get(own_tus.new(1, b"x")), 409, "upload_not_finished")


def test_the_surface_is_listed(gateway: Gateway) -> None:
    assert "tus" in gateway.http.get("/v1/limits").json()["surfaces"]
