"""Whole files in one request: a raw body or a form. All files of a request are taken or none."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.requests import Request

from common.chunking import MIB
from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway, assert_problem, until

BOUNDARY = "AaB03x"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(disposition: str, content: str, *fields: str) -> bytes:
    head = "\r\n".join([f"--{BOUNDARY}", f"Content-Disposition: form-data; {disposition}", *fields])
    return f"{head}\r\n\r\n{content}\r\n".encode()


END = f"--{BOUNDARY}--\r\n".encode()


def post_form(gateway: Gateway, body: bytes | Iterator[bytes]) -> httpx.Response:
    return gateway.http.post("/v1/files", content=body, headers={"Content-Type": FORM})


def post_raw(gateway: Gateway, body: bytes | Iterator[bytes], name: str = "a.txt", **fields: str) -> httpx.Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'} if name else {}
    headers |= {key.replace("_", "-"): value for key, value in fields.items()}
    return gateway.http.post("/v1/files", content=body, headers=headers)


def nothing_is_left(gateway: Gateway) -> bool:
    """No file, no bytes, no open upload."""
    return gateway.folders() == set() and set(gateway.states().values()) <= {"aborted"}


# --- raw ----------------------------------------------------------------------------------------------------


def test_a_raw_body_becomes_a_file(gateway: Gateway) -> None:
    answer = post_raw(gateway, b"a,b\n1,2\n", "t.csv", Content_Type="text/csv")
    job = gateway.ended(answer.json()["id"])
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    file = gateway.http.get(job["links"]["file"]).json()
    assert (file["filename"], file["content_type"], file["size"]) == ("t.csv", "text/csv", 8)
    assert gateway.http.get(job["links"]["content"]).content == b"a,b\n1,2\n"


def test_a_raw_body_without_a_length_becomes_a_file(gateway: Gateway) -> None:
    content = bytes(range(256)) * 4096 * 3
    answer = post_raw(gateway, iter([content[: 2 * MIB], content[2 * MIB :]]), "stream.bin")
    job = gateway.ended(answer.json()["id"])
    assert gateway.http.get(job["links"]["file"]).json()["digests"]["sha-256"] == hashlib.sha256(content).hexdigest()


def test_an_empty_raw_body_is_an_empty_file(gateway: Gateway) -> None:
    job = gateway.ended(post_raw(gateway, b"").json()["id"])
    assert gateway.http.get(job["links"]["file"]).json()["size"] == 0
    assert gateway.http.get(job["links"]["content"]).content == b""


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("attachment; filename=plain.txt", "plain.txt"),
        ('inline; filename="with space.txt"', "with space.txt"),
        ("attachment; filename=\"fallback.txt\"; filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"),
        ("attachment; filename*=iso-8859-1'en'%A3.txt", "£.txt"),
        ("attachment; filename*=utf-8''%ff%fe; filename=safe.txt", "safe.txt"),
    ],
)
def test_the_name_comes_from_content_disposition(gateway: Gateway, disposition: str, name: str) -> None:
    upload = post_raw(gateway, b"x", "", Content_Disposition=disposition).json()["upload_id"]
    assert gateway.http.get(f"/v1/uploads/{upload}").json()["filename"] == name


def test_the_query_may_name_tag_and_describe_the_file(gateway: Gateway) -> None:
    query = {"filename": "ünï.txt", "tag": ["a=1", "b"], "description": "short"}
    upload_id = gateway.http.post("/v1/files", params=query, content=b"x").json()["upload_id"]
    upload = gateway.http.get(f"/v1/uploads/{upload_id}").json()
    assert (upload["filename"], upload["tags"], upload["description"]) == ("ünï.txt", {"a": "1", "b": ""}, "short")


def test_a_raw_body_without_a_name_is_refused_before_it_is_read(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.head("POST /v1/files", Content_Length=5, Expect="100-continue")
        assert_problem(wire.answer(), 422, "invalid_filename")


@pytest.mark.parametrize("name", ["../x", "a%00b", "x" * 300])
def test_a_raw_body_with_a_bad_name_leaves_nothing(own_gateway: Gateway, name: str) -> None:
    answer = own_gateway.http.post(f"/v1/files?filename={name}", content=b"x")
    assert_problem(answer, 422, "invalid_filename")
    assert own_gateway.states() == {}


@pytest.mark.parametrize("field", ["Content_Digest", "Repr_Digest"])
def test_a_raw_body_that_differs_from_its_digest_leaves_nothing(own_gateway: Gateway, field: str) -> None:
    digest = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
    answer = post_raw(own_gateway, b"hellO", **{field: f"sha-256=:{digest}:"})
    assert_problem(answer, 422, "digest_mismatch")
    assert nothing_is_left(own_gateway)
    assert post_raw(own_gateway, b"hello", **{field: f"sha-256=:{digest}:"}).status_code == 202


def test_both_digests_of_a_raw_body_are_compared(own_gateway: Gateway) -> None:
    right = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
    wrong = base64.b64encode(hashlib.sha512(b"hellO").digest()).decode()
    answer = post_raw(own_gateway, b"hello", Content_Digest=f"sha-256=:{right}:", Repr_Digest=f"sha-512=:{wrong}:")
    assert assert_problem(answer, 422, "digest_mismatch")["algorithms"] == ["sha-512"]
    assert nothing_is_left(own_gateway)


def test_a_body_that_is_shorter_than_declared_is_no_file(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut(request: Request) -> AsyncIterator[bytes]:
        async for piece in request.stream():
            yield piece[:-1]

    monkeypatch.setattr("gateway.api.ingest.body_of", cut)
    assert_problem(post_raw(own_gateway, b"hello"), 400, "body_incomplete")
    assert nothing_is_left(own_gateway)


def test_a_raw_body_over_the_limit_is_413_with_and_without_a_length(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_FILE_SIZE="100000")
    assert assert_problem(post_raw(own, b"x" * 100_001), 413, "file_too_large")["limit"] == 100_000
    assert own.states() == {}
    assert_problem(post_raw(own, iter([b"x" * 60_000, b"x" * 60_000])), 413, "file_too_large")
    assert nothing_is_left(own)
    assert post_raw(own, iter([b"x" * 100_000])).status_code == 202


def test_a_raw_body_that_breaks_off_leaves_nothing(own_gateway: Gateway) -> None:
    with own_gateway.wire() as wire:
        wire.head("POST /v1/files?filename=a", Content_Length=3 * MIB)
        wire.send(bytes(2 * MIB))
        until(lambda: len(own_gateway.folders()) == 1)
    until(lambda: nothing_is_left(own_gateway))


def test_a_raw_body_onto_a_full_disk_leaves_nothing(open_gateway: OpenGateway) -> None:
    own = open_gateway(MIN_FREE_BYTES=str(2**60))
    assert_problem(post_raw(own, b"x"), 507, "insufficient_storage")
    assert nothing_is_left(own)


def test_a_crash_of_the_gateway_itself_leaves_nothing(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("gateway.service.wholes.new_job", broken)
    problem = assert_problem(post_raw(own_gateway, b"x"), 500, "internal_error")
    assert "Zero" not in problem["detail"]
    assert nothing_is_left(own_gateway)


# --- forms --------------------------------------------------------------------------------------------------


def test_a_form_brings_many_files_and_fields_around_them(gateway: Gateway) -> None:
    answer = post_form(
        gateway,
        part('name="client_id"', "c-7")
        + part('name="file"; filename="one.txt"', "first", "Content-Type: text/plain")
        + part('name="tags"', '{"a": "1"}')
        + part('name="file"; filename="two.bin"', "")
        + part('name="description"', "both")
        + part('name="timestamp"', "2026-01-02T03:04:05Z")
        + part('name="metadata"', '{"n": 1}')
        + END,
    )
    assert answer.status_code == 202, answer.text
    taken = answer.json()["files"]
    assert [item["filename"] for item in taken] == ["one.txt", "two.bin"]
    for item, content in zip(taken, [b"first", b""], strict=True):
        job = gateway.ended(item["job_id"])
        file = gateway.http.get(job["links"]["file"]).json()
        assert file["upload_id"] == item["upload_id"]
        assert file["metadata"] == {"client_id": "c-7", "timestamp": "2026-01-02T03:04:05Z", "n": 1}
        assert (file["tags"], file["description"]) == ({"a": "1"}, "both")
        assert gateway.http.get(job["links"]["content"]).content == content


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("", {}),
        ("a=1, b , c=x=y", {"a": "1", "b": "", "c": "x=y"}),
        ('{"a": "1", "b": "two"}', {"a": "1", "b": "two"}),
        ('["a=1", "b"]', {"a": "1", "b": ""}),
    ],
)
def test_the_tags_of_a_form_come_in_several_shapes(gateway: Gateway, text: str, tags: dict[str, str]) -> None:
    answer = post_form(gateway, part('name="tags"', text) + part('name="f"; filename="a"', "x") + END)
    upload_id = answer.json()["files"][0]["upload_id"]
    assert gateway.http.get(f"/v1/uploads/{upload_id}").json()["tags"] == tags


def test_a_large_file_in_a_form_is_streamed(gateway: Gateway) -> None:
    content = bytes(range(256)) * 4096 * 8
    answer = gateway.http.post("/v1/files", files={"file": ("big.bin", content)})
    job = gateway.ended(answer.json()["files"][0]["job_id"])
    assert gateway.http.get(job["links"]["file"]).json()["digests"]["sha-256"] == hashlib.sha256(content).hexdigest()


ONE_FILE = part('name="f"; filename="a"', "content")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (part('name="tags"', "x") + END, "invalid_request"),  # no file
        (END, "invalid_request"),
        (ONE_FILE + part('name="tags"', "{nonsense") + END, "invalid_request"),
        (ONE_FILE + part('name="tags"', "[1") + END, "invalid_request"),
        (ONE_FILE + part('name="metadata"', "[]") + END, "invalid_request"),
        (ONE_FILE + part('name="metadata"', "[" * 10_000) + END, "invalid_request"),
        (ONE_FILE + part('name="metadata"', '{"a": NaN}') + END, "invalid_request"),
        (ONE_FILE + part('name="description"', "x" * 20_000) + END, "metadata_too_large"),
        (ONE_FILE + part('name="f"; filename="../b"', "x") + END, "invalid_filename"),
        (ONE_FILE + part('name="f"; filename=""', "x") + END, "invalid_filename"),
        (ONE_FILE + part('name="tags"', '{"a": 1}') + END, "invalid_request"),
        (ONE_FILE + part('name="f"; filename=""', "") * 101 + END, "invalid_request"),
        (ONE_FILE + part('name="k"', "") * 101 + END, "invalid_request"),
        (ONE_FILE + part('filename="b"', "x") + END, "invalid_request"),
        (ONE_FILE + part('name="f"; filename="b"', "x", "Content-Type: nonsense") + END, "invalid_request"),
        (part('name="f"; filename=""', "") + END, "invalid_request"),
        (ONE_FILE + part('name="f"; filename="b"', "x", "Content-Digest: sha-256=:AAAA:") + END, "invalid_digest"),
        (ONE_FILE + part('name="f"; filename="b"', "x", "Content-Digest: crc32c=:AAAAAA==:") + END, "digest_mismatch"),
        (b"nonsense", "invalid_request"),
        (ONE_FILE[:-4], "body_incomplete"),
        (ONE_FILE, "body_incomplete"),
        (b"", "body_incomplete"),
    ],
)
def test_a_form_that_is_refused_leaves_nothing(own_gateway: Gateway, body: bytes, code: str) -> None:
    answer = post_form(own_gateway, body)
    assert_problem(answer, 400 if code == "body_incomplete" else 422, code)
    assert nothing_is_left(own_gateway)


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
def test_a_digest_of_a_whole_form_is_refused_and_not_ignored(own_gateway: Gateway, field: str) -> None:
    headers = {"Content-Type": FORM, field: f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}
    answer = own_gateway.http.post("/v1/files", content=ONE_FILE + END, headers=headers)
    assert_problem(answer, 422, "invalid_digest")
    assert nothing_is_left(own_gateway)


def test_a_file_input_that_was_left_empty_is_skipped(gateway: Gateway) -> None:
    empty = part('name="g"; filename=""', "", "Content-Type: application/octet-stream")
    answer = post_form(gateway, empty + ONE_FILE + empty + END)
    assert [item["filename"] for item in answer.json()["files"]] == ["a"]


def test_a_part_that_is_what_its_digest_says_is_taken(gateway: Gateway) -> None:
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    head = part('name="f"; filename="b"', "x", f"Content-Digest: sha-256=:{digest}:")
    assert post_form(gateway, head + END).status_code == 202


def test_only_multipart_form_data_is_a_form(gateway: Gateway) -> None:
    headers = {"Content-Type": "multipart/form-datax; boundary=x", "Content-Disposition": "attachment; filename=a"}
    job = gateway.http.post("/v1/files", content=b"--x--", headers=headers).json()
    assert gateway.ended(job["id"])["progress"]["total"] == 5


def test_too_many_files_in_a_form_leave_nothing(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_FORM_FILES="2")
    assert_problem(post_form(own, ONE_FILE * 3 + END), 422, "invalid_request")
    assert nothing_is_left(own)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 300])
def test_a_form_without_a_usable_boundary_is_refused(gateway: Gateway, content_type: str) -> None:
    answer = gateway.http.post("/v1/files", content=b"x", headers={"Content-Type": content_type})
    assert_problem(answer, 422, "invalid_request")


def test_a_form_that_breaks_off_in_its_second_file_leaves_nothing(own_gateway: Gateway) -> None:
    with own_gateway.wire() as wire:
        wire.head("POST /v1/files", Content_Type=FORM, Content_Length=10_000)
        wire.send(ONE_FILE + part('name="f"; filename="b"', "x" * 1000)[:500])
        until(lambda: len(own_gateway.folders()) == 2)
    until(lambda: nothing_is_left(own_gateway))


def test_an_unknown_field_becomes_metadata(gateway: Gateway) -> None:
    answer = post_form(gateway, part('name="station"', "12") + ONE_FILE + END)
    upload_id = answer.json()["files"][0]["upload_id"]
    assert json.loads(gateway.sql("SELECT metadata FROM uploads WHERE id = ?", upload_id)[0][0]) == {"station": "12"}
