"""Sending chunks: what is taken, what is refused, and that the upload can be finished after every refusal."""

import base64
import hashlib
import time
from collections.abc import Iterator

import pytest
from awscrt import checksums

from common.chunking import MIB
from common.digests import crc64_bytes
from tests.integration.gateway.rig import UNKNOWN, Gateway, Json, assert_problem, until

CONTENT = b"0123456789abcdefghijklmno"  # three chunks of 10, 10 and 5 bytes


@pytest.fixture
def upload(gateway: Gateway) -> Json:
    """Three chunks, none sent."""
    return gateway.create(len(CONTENT), chunk_size=10)


def finish(gateway: Gateway, upload: Json, content: bytes = CONTENT) -> None:
    """Whatever happened before: send everything, and get exactly it back."""
    size = upload["chunk_size"]
    for index in range(upload["chunk_count"]):
        assert gateway.put(upload, index, content[index * size : (index + 1) * size]).status_code == 200
    file = gateway.finish(upload)
    assert gateway.http.get(f"/v1/files/{file['id']}/content").content == content


def field(algorithm: str, digest: bytes) -> str:
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"


def digests_of(data: bytes) -> dict[str, bytes]:
    return {
        "sha-256": hashlib.sha256(data).digest(),
        "sha-512": hashlib.sha512(data).digest(),
        "crc32c": checksums.crc32c(data).to_bytes(4, "big"),
        "crc64nvme": crc64_bytes(checksums.crc64nvme(data)),
    }


# --- which upload, which chunk ------------------------------------------------------------------------------


@pytest.mark.parametrize("upload_id", [UNKNOWN, "nonsense", "..", "%2e%2e%2f", "0" * 36, "%00", "ä"])
def test_an_unknown_upload_is_404(gateway: Gateway, upload_id: str) -> None:
    answers = [
        gateway.http.get(f"/v1/uploads/{upload_id}"),
        gateway.http.put(f"/v1/uploads/{upload_id}/chunks/0", content=b"x"),
        gateway.http.post(f"/v1/uploads/{upload_id}/finalize"),
        gateway.http.delete(f"/v1/uploads/{upload_id}"),
    ]
    for answer in answers:
        code = answer.json()["code"]
        assert code in ("upload_not_found", "not_found", "method_not_allowed")
        assert_problem(answer, 405 if code == "method_not_allowed" else 404, code)


def test_an_upload_of_another_tenant_does_not_exist(gateway: Gateway, upload: Json) -> None:
    gateway.give_away("uploads", upload["id"])
    for answer in (
        gateway.http.get(f"/v1/uploads/{upload['id']}"),
        gateway.put(upload, 0, CONTENT[:10]),
        gateway.finalize(upload),
        gateway.http.delete(f"/v1/uploads/{upload['id']}"),
    ):
        assert_problem(answer, 404, "upload_not_found")
    assert gateway.states()[upload["id"]] == "open"
    assert gateway.upload_folder(upload["id"]).is_dir()


@pytest.mark.parametrize("index", ["3", "1" + "0" * 40])
def test_an_index_outside_the_upload_is_refused(gateway: Gateway, upload: Json, index: str) -> None:
    problem = assert_problem(gateway.put(upload, index, b"x" * 10), 422, "chunk_out_of_range")
    assert problem["chunk_count"] == 3
    finish(gateway, upload)


@pytest.mark.parametrize(
    "index", ["one", "1.5", "0x1", "null", "1" * 5000, "-1", "+1", "01", "00", "1_0", "%201", "1.0", "%D9%A1"]
)
def test_an_index_that_is_no_number_is_refused(gateway: Gateway, upload: Json, index: str) -> None:
    assert_problem(gateway.put(upload, index, b"x" * 10), 422, "invalid_request")
    finish(gateway, upload)


# --- how long -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 9, 11, 10_000])
def test_a_chunk_of_another_length_is_refused(gateway: Gateway, upload: Json, length: int) -> None:
    problem = assert_problem(gateway.put(upload, 0, b"x" * length), 422, "chunk_length")
    assert problem["expected"] == 10
    assert gateway.look(upload)["received_bytes"] == 0
    finish(gateway, upload)


@pytest.mark.parametrize("length", [0, 9, 11, 10_000])
def test_a_chunk_of_another_length_without_content_length_is_refused(
    gateway: Gateway, upload: Json, length: int
) -> None:
    def body() -> Iterator[bytes]:
        yield b"x" * length

    assert_problem(gateway.put(upload, 0, body()), 422, "chunk_length")
    assert gateway.look(upload)["received_bytes"] == 0
    finish(gateway, upload)


def test_a_chunk_without_content_length_is_taken(gateway: Gateway, upload: Json) -> None:
    answer = gateway.put(upload, 0, iter([CONTENT[:4], CONTENT[4:10]]))
    assert answer.json()["size"] == 10
    finish(gateway, upload)


def test_the_last_chunk_is_as_long_as_what_is_left(gateway: Gateway, upload: Json) -> None:
    assert_problem(gateway.put(upload, 2, b"x" * 10), 422, "chunk_length")
    assert gateway.put(upload, 2, CONTENT[20:]).json()["size"] == 5


@pytest.mark.parametrize("fields", [{"Content_Length": 10}, {"Transfer_Encoding": "chunked"}])
def test_a_chunk_that_is_cut_off_leaves_no_receipt(gateway: Gateway, upload: Json, fields: dict[str, str]) -> None:
    before = gateway.metric("sluice_refused_total", code="body_incomplete")
    with gateway.wire() as wire:
        wire.head(f"PUT /v1/uploads/{upload['id']}/chunks/0", **fields)
        wire.send(b"01234" if "Content_Length" in fields else b"5\r\n01234\r\n")
    until(lambda: gateway.metric("sluice_refused_total", code="body_incomplete") > before)
    assert gateway.look(upload)["missing"] == [[0, 2]]
    finish(gateway, upload)


# --- digests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512", "crc32c", "crc64nvme"])
def test_a_chunk_that_differs_from_its_digest_is_refused(gateway: Gateway, upload: Json, algorithm: str) -> None:
    right = digests_of(CONTENT[:10])[algorithm]
    answer = gateway.put(upload, 0, b"012345678X", Content_Digest=field(algorithm, right))
    assert assert_problem(answer, 422, "digest_mismatch")["algorithms"] == [algorithm]
    assert gateway.look(upload)["received_bytes"] == 0
    assert gateway.put(upload, 0, CONTENT[:10], Content_Digest=field(algorithm, right)).status_code == 200
    finish(gateway, upload)


def test_a_large_chunk_that_differs_from_its_digest_is_refused(gateway: Gateway) -> None:
    content = bytes(3 * MIB)
    upload = gateway.create(len(content), chunk_size=len(content))
    wrong = field("sha-256", digests_of(b"other")["sha-256"])
    assert_problem(gateway.put(upload, 0, content, Content_Digest=wrong), 422, "digest_mismatch")
    finish(gateway, upload, content)


def test_all_digests_of_a_field_are_compared(gateway: Gateway, upload: Json) -> None:
    right = digests_of(CONTENT[:10])
    mixed = ", ".join([field("sha-256", right["sha-256"]), field("crc32c", b"\0\0\0\0"), "md5=:AAAA:"])
    assert_problem(gateway.put(upload, 0, CONTENT[:10], Content_Digest=mixed), 422, "digest_mismatch")
    known = ", ".join(field(name, value) for name, value in right.items())
    assert gateway.put(upload, 0, CONTENT[:10], Content_Digest=known).status_code == 200


@pytest.mark.parametrize(
    "value", ["nonsense", "sha-256=abc", "sha-256=:AAAA:", "sha-256=:!!:", "md5=:AAAA:", "sha-256", "sha-256=(1 2)", ""]
)
def test_a_digest_that_cannot_be_compared_is_refused(gateway: Gateway, upload: Json, value: str) -> None:
    assert_problem(gateway.put(upload, 0, CONTENT[:10], Content_Digest=value), 422, "invalid_digest")
    assert gateway.look(upload)["received_bytes"] == 0
    finish(gateway, upload)


def test_the_answer_names_the_crc_of_what_arrived(gateway: Gateway, upload: Json) -> None:
    answer = gateway.put(upload, 1, CONTENT[10:20])
    crc = digests_of(CONTENT[10:20])["crc64nvme"].hex()
    assert answer.json() == {"index": 1, "size": 10, "digests": {"crc64nvme": crc}}


# --- again --------------------------------------------------------------------------------------------------


def test_the_same_bytes_again_are_fine(gateway: Gateway, upload: Json) -> None:
    first = gateway.put(upload, 0, CONTENT[:10])
    again = gateway.put(upload, 0, CONTENT[:10])
    assert (again.status_code, again.json()) == (200, first.json())
    finish(gateway, upload)


def test_other_bytes_for_a_stored_chunk_are_a_conflict(gateway: Gateway, upload: Json) -> None:
    gateway.put(upload, 0, CONTENT[:10])
    assert_problem(gateway.put(upload, 0, b"x" * 10), 409, "chunk_conflict")
    finish(gateway, upload)


def test_missing_follows_what_arrives(gateway: Gateway) -> None:
    upload = gateway.create(100, chunk_size=10)
    for index in (0, 3, 4, 9):
        gateway.put(upload, index, b"x" * 10)
    seen = gateway.look(upload)
    assert seen["missing"] == [[1, 2], [5, 8]]
    assert seen["received_bytes"] == 40


# --- many and none ------------------------------------------------------------------------------------------


def test_an_empty_file_is_finished_without_chunks(gateway: Gateway) -> None:
    upload = gateway.create(0)
    assert (upload["chunk_count"], upload["missing"]) == (0, [])
    assert_problem(gateway.put(upload, 0, b""), 422, "chunk_out_of_range")
    file = gateway.finish(upload)
    assert file["digests"]["sha-256"] == hashlib.sha256(b"").hexdigest()


@pytest.mark.slow
def test_ten_thousand_chunks_make_one_file(gateway: Gateway) -> None:
    content = bytes(index % 251 for index in range(20_000))
    upload = gateway.create(len(content), chunk_size=2)
    assert upload["chunk_count"] == 10_000
    began = time.monotonic()
    with gateway.wire(30) as wire:  # pipelined by the eight: the client's own cost is not what is tested
        for first in range(0, 10_000, 8):
            heads = [f"PUT /v1/uploads/{upload['id']}/chunks/{first + n} HTTP/1.1\r\nHost: test\r\n" for n in range(8)]
            bodies = [content[2 * (first + n) : 2 * (first + n) + 2] for n in range(8)]
            wire.send(
                b"".join(
                    head.encode() + b"Content-Length: 2\r\n\r\n" + body
                    for head, body in zip(heads, bodies, strict=True)
                )
            )
            assert [wire.answer().status_code for _ in range(8)] == [200] * 8
    assert time.monotonic() - began < 60
    assert gateway.look(upload)["missing"] == []
    file = gateway.finish(upload)
    assert file["digests"]["sha-256"] == hashlib.sha256(content).hexdigest()
