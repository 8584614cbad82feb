"""The companion's routes as `@uppy/aws-s3` calls them, with parts in our own storage."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import UNKNOWN, Gateway, assert_problem, until

MIB = 1024**2
PART = 5 * MIB  # the plugin makes no smaller ones
Json = dict[str, Any]


def created(gateway: Gateway, **members: Any) -> Json:
    answer = gateway.http.post("/s3/multipart", json={"filename": "a.bin", "type": "image/png", **members})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def put(gateway: Gateway, upload: Json, number: int, content: bytes) -> httpx.Response:
    link = gateway.http.get(f"/s3/multipart/{upload['uploadId']}/{number}", params={"key": upload["key"]})
    assert link.status_code == 200, link.text
    return httpx.put(link.json()["url"], content=content, trust_env=False, timeout=30)


def complete(gateway: Gateway, upload: Json, etags: list[str]) -> httpx.Response:
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    return gateway.http.post(
        f"/s3/multipart/{upload['uploadId']}/complete", params={"key": upload["key"]}, json={"parts": parts}
    )


def listed(gateway: Gateway, upload: Json) -> list[Json]:
    return list(gateway.http.get(f"/s3/multipart/{upload['uploadId']}", params={"key": upload["key"]}).json())


def etags_of(gateway: Gateway, upload: Json, *parts: bytes) -> list[str]:
    answers = [put(gateway, upload, number, part) for number, part in enumerate(parts, 1)]
    assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
    return [answer.headers["etag"] for answer in answers]


def published(gateway: Gateway, location: str) -> bytes:
    found: list[httpx.Response] = []

    def is_there() -> bool:
        found.append(httpx.get(location, follow_redirects=True, trust_env=False))
        return found[-1].status_code == 200

    until(is_there)
    return found[-1].content


def test_parts_become_the_file_and_location_leads_to_it(gateway: Gateway) -> None:
    content = os.urandom(2 * PART + 1000)
    upload = created(gateway, metadata={"name": "a.bin", "type": "image/png", "album": "north"})
    etags = etags_of(gateway, upload, content[:PART], content[PART : 2 * PART], content[2 * PART :])
    answer = complete(gateway, upload, [etag.strip('"') for etag in etags])

    assert answer.status_code == 200, answer.text
    job = gateway.ended(answer.json()["job_id"])
    file = gateway.http.get(job["links"]["file"]).json()
    assert file["digests"]["sha-256"] == hashlib.sha256(content).hexdigest()
    assert (file["filename"], file["content_type"]) == ("a.bin", "image/png")
    assert file["metadata"] == {"album": "north"}
    assert published(gateway, answer.json()["location"]) == content


@pytest.mark.parametrize("size", [PART + 1, 6 * MIB])
def test_the_first_part_tells_how_large_all_are(gateway: Gateway, size: int) -> None:
    content = os.urandom(2 * size + 5)
    upload = created(gateway)
    etags = etags_of(gateway, upload, content[:size], content[size : 2 * size], content[2 * size :])
    job = gateway.ended(complete(gateway, upload, etags).json()["job_id"])

    assert job["state"] == "succeeded", job
    assert gateway.http.get(job["links"]["content"]).content == content


def test_other_parts_wait_for_the_first(gateway: Gateway) -> None:
    content = os.urandom(6 * MIB + 9)
    upload = created(gateway)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(put, gateway, upload, 2, content[6 * MIB :])
        first = put(gateway, upload, 1, content[: 6 * MIB])
        etags = [first.headers["etag"], second.result().headers["etag"]]
    job = gateway.ended(complete(gateway, upload, etags).json()["job_id"])
    assert gateway.http.get(job["links"]["content"]).content == content


def test_without_a_first_part_others_are_sent_again_later(
    own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.service.parts.FIRST_PART_SECONDS", 0.1)
    answer = put(own_gateway, created(own_gateway), 2, b"late")
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"


def test_one_short_part_is_a_whole_file(gateway: Gateway) -> None:
    upload = created(gateway)
    job = gateway.ended(complete(gateway, upload, etags_of(gateway, upload, b"short")).json()["job_id"])
    assert gateway.http.get(job["links"]["content"]).content == b"short"


def test_parts_that_have_arrived_are_listed_for_who_comes_back(gateway: Gateway) -> None:
    upload = created(gateway)
    content = os.urandom(PART)
    etag = put(gateway, upload, 1, content).headers["etag"].strip('"')
    assert [listed(gateway, created(gateway)), listed(gateway, upload)] == [
        [],
        [{"PartNumber": 1, "Size": PART, "ETag": f'"{etag}"'}],
    ]


def test_a_part_may_be_sent_again(gateway: Gateway) -> None:
    upload = created(gateway)
    first, again = put(gateway, upload, 1, b"same"), put(gateway, upload, 1, b"same")
    assert (again.status_code, again.headers["etag"]) == (200, first.headers["etag"])


def test_other_bytes_for_the_same_part_are_refused(gateway: Gateway) -> None:
    upload = created(gateway)
    put(gateway, upload, 1, b"same")
    assert_problem(put(gateway, upload, 1, b"othr"), 409, "chunk_conflict")


def test_completing_again_gives_the_same_job(gateway: Gateway) -> None:
    upload = created(gateway)
    etags = etags_of(gateway, upload, b"once")
    first = complete(gateway, upload, etags).json()
    gateway.ended(first["job_id"])
    assert complete(gateway, upload, etags).json() == first


def test_damaged_parts_may_be_sent_again(gateway: Gateway) -> None:
    content = os.urandom(PART + 10)
    upload = created(gateway)
    etags = etags_of(gateway, upload, content[:PART], content[PART:])
    with (gateway.upload_folder(upload["uploadId"]) / "data").open("r+b") as stored:
        stored.write(b"damage")
    damaged = gateway.ended(complete(gateway, upload, etags).json()["job_id"])
    left = [part["PartNumber"] for part in listed(gateway, upload)]
    put(gateway, upload, 1, content[:PART])
    ended = gateway.ended(complete(gateway, upload, etags).json()["job_id"])

    assert (damaged["error"]["code"], left) == ("chunks_damaged", [2])
    assert gateway.http.get(ended["links"]["content"]).content == content


def test_completing_names_the_parts_that_are_missing(gateway: Gateway) -> None:
    upload = created(gateway)
    etags = etags_of(gateway, upload, os.urandom(PART))
    document = assert_problem(complete(gateway, upload, [*etags, "00", "00"]), 409, "chunks_missing")
    assert document["missing"] == [[1, 2]]


def test_completing_with_another_etag_is_refused(gateway: Gateway) -> None:
    upload = created(gateway)
    etags_of(gateway, upload, b"content")
    assert_problem(complete(gateway, upload, ["0" * 16]), 409, "chunk_conflict")


def test_completing_without_parts_is_refused(gateway: Gateway) -> None:
    assert_problem(complete(gateway, created(gateway), []), 422, "invalid_request")


def test_a_short_part_in_the_middle_is_refused(gateway: Gateway) -> None:
    upload = created(gateway)
    etags = etags_of(gateway, upload, os.urandom(PART), b"short", b"last")
    assert_problem(complete(gateway, upload, etags), 422, "chunk_length")


def test_a_part_that_is_longer_than_the_first_is_refused(gateway: Gateway) -> None:
    upload = created(gateway)
    put(gateway, upload, 1, os.urandom(PART))
    assert_problem(put(gateway, upload, 2, os.urandom(PART + 1)), 422, "chunk_length")


def test_a_part_beyond_the_largest_file_is_refused(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_FILE_SIZE="1000")
    assert_problem(put(own, created(own), 1, bytes(1001)), 413, "file_too_large")


@pytest.mark.parametrize("number", ["0", "10001", "x", "01"])
def test_parts_are_numbered_from_1_to_10000(gateway: Gateway, number: str) -> None:
    upload = created(gateway)
    answer = gateway.http.put(f"/s3/multipart/{upload['uploadId']}/{number}", content=b"x")
    assert answer.status_code == 422


def test_an_aborted_upload_takes_no_parts(gateway: Gateway) -> None:
    upload = created(gateway)
    put(gateway, upload, 1, b"content")
    assert gateway.http.delete(f"/s3/multipart/{upload['uploadId']}", params={"key": "x"}).status_code == 200
    assert_problem(
        gateway.http.put(f"/s3/multipart/{upload['uploadId']}/1", content=b"content"), 409, "upload_not_open"
    )
    assert not gateway.upload_folder(upload["uploadId"]).exists()


def native(gateway: Gateway, size: int) -> Json:
    body = {"filename": "n.bin", "size": size, "chunk_size": PART}
    upload_id = gateway.http.post("/v1/uploads", json=body).json()["id"]
    return {"uploadId": upload_id, "key": upload_id}


def test_an_upload_whose_size_was_declared_is_not_completed_with_another(gateway: Gateway) -> None:
    upload = native(gateway, 2 * PART)
    first = put(gateway, upload, 1, b"a" * PART)
    assert_problem(complete(gateway, upload, [first.headers["etag"]]), 409, "size_conflict")
    second = put(gateway, upload, 2, b"b" * PART)
    assert complete(gateway, upload, [first.headers["etag"], second.headers["etag"]]).status_code == 200


@pytest.mark.parametrize(
    ("number", "size", "code"), [(1, 50, "chunk_length"), (2, 8, "chunk_length"), (3, 7, "chunk_out_of_range")]
)
def test_parts_of_an_upload_whose_size_was_declared_are_its_chunks(
    gateway: Gateway, number: int, size: int, code: str
) -> None:
    upload = native(gateway, PART + 7)
    assert_problem(put(gateway, upload, number, b"x" * size), 422, code)
    assert gateway.http.get(f"/v1/uploads/{upload['uploadId']}").json()["received_bytes"] == 0


def test_a_stream_is_not_completed_as_parts(gateway: Gateway) -> None:
    tus = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Concat": "partial"}
    made = gateway.http.post("/tus", headers={**tus, "Upload-Length": "2"}, content=b"ab")
    upload_id = made.headers["location"].rpartition("/")[2]
    upload = {"uploadId": upload_id, "key": upload_id}
    assert_problem(complete(gateway, upload, ["0" * 16]), 409, "upload_not_open")
    assert_problem(gateway.http.get(f"/s3/multipart/{upload_id}"), 409, "upload_not_open")


def test_an_unknown_upload_is_not_found(gateway: Gateway) -> None:
    assert_problem(gateway.http.get(f"/s3/multipart/{UNKNOWN}/1"), 404, "upload_not_found")


def test_a_name_that_is_not_allowed_is_refused_before_a_byte_is_sent(open_gateway: OpenGateway) -> None:
    own = open_gateway(ALLOWED_EXTENSIONS="csv")
    answer = own.http.post("/s3/multipart", json={"filename": "a.exe", "type": "x/y"})
    assert_problem(answer, 415, "extension_not_allowed")


# --- one form ------------------------------------------------------------------------------------------------------


def announced(gateway: Gateway, **parameters: str) -> Json:
    answer = gateway.http.get("/s3/params", params={"filename": "b.txt", "type": "text/plain", **parameters})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def post(form: Json, content: bytes, name: str = "blob") -> httpx.Response:
    """As a browser does it: the fields, then the file under whatever name the blob has."""
    return httpx.post(form["url"], data=form["fields"], files={"file": (name, content)}, trust_env=False, timeout=30)


@pytest.mark.parametrize("size", [0, 5, 6 * MIB])
def test_a_form_becomes_the_file_with_the_announced_name(gateway: Gateway, size: int) -> None:
    content = os.urandom(size)
    form = announced(gateway, **{"metadata[name]": "b.txt", "metadata[album]": "south"})
    answer = post(form, content)

    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{form['url']}/{form['fields']['key']}"
    assert published(gateway, answer.headers["location"]) == content
    file_id = gateway.http.get(f"/v1/uploads/{form['fields']['key']}").json()["file_id"]
    file = gateway.http.get(f"/v1/files/{file_id}").json()
    assert (file["filename"], file["content_type"]) == ("b.txt", "text/plain")
    assert file["metadata"] == {"album": "south"}


def test_a_form_that_is_sent_again_makes_no_second_file(gateway: Gateway) -> None:
    form = announced(gateway)
    first, again = post(form, b"once"), post(form, b"once")
    assert (again.status_code, again.headers["location"]) == (first.status_code, first.headers["location"])


def test_a_form_without_a_key_is_refused(gateway: Gateway) -> None:
    form = announced(gateway)
    assert_problem(post({**form, "fields": {}}, b"content"), 422, "invalid_request")


def test_a_form_without_a_file_is_refused(gateway: Gateway) -> None:
    form = announced(gateway)
    answer = httpx.post(form["url"], files={"key": (None, form["fields"]["key"])}, trust_env=False)
    assert_problem(answer, 422, "invalid_request")


def test_there_is_no_file_at_the_location_of_an_open_upload(gateway: Gateway) -> None:
    form = announced(gateway)
    answer = gateway.http.get(f"/s3/files/{form['fields']['key']}")
    assert_problem(answer, 404, "file_not_found")


def test_the_location_of_a_file_that_is_being_verified_says_when_to_ask_again(own_gateway: Gateway) -> None:
    answer = post(announced(own_gateway), b"no worker here")
    waiting = httpx.get(answer.headers["location"], trust_env=False)
    assert_problem(waiting, 503, "unavailable")
    assert waiting.headers["retry-after"] == "1"
