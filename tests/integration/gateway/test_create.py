"""Creating uploads: what is taken, what is refused, and that a refusal leaves nothing behind."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from common.chunking import MIB
from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway, assert_problem

TIB = 1024 * 1024 * MIB
UPLOAD_MEMBERS = {
    "id", "state", "filename", "size", "chunk_size", "chunk_count", "received_bytes", "missing", "transport",
    "content_type", "digests", "description", "metadata", "tags", "created_at", "expires_at", "job_id",
    "file_id", "links",
}  # fmt: skip


def post(gateway: Gateway, body: str | bytes, **fields: str) -> httpx.Response:
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in fields.items()}
    return gateway.http.post("/v1/uploads", content=body, headers=headers)


def test_the_answer_is_the_upload_and_its_address(gateway: Gateway) -> None:
    answer = gateway.http.post("/v1/uploads", json={"filename": "a.csv", "size": 25, "chunk_size": 10})
    upload = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/uploads/{upload['id']}"
    assert set(upload) == UPLOAD_MEMBERS
    assert (upload["state"], upload["chunk_count"], upload["received_bytes"]) == ("open", 3, 0)
    assert upload["missing"] == [[0, 2]]
    assert upload["job_id"] is None
    assert upload["file_id"] is None


def test_looking_at_an_upload_gives_the_same_shape(gateway: Gateway) -> None:
    upload = gateway.create(25, chunk_size=10, tags={"k": "v"}, metadata={"n": [1, None]}, description="d")
    assert gateway.look(upload) == upload


@pytest.mark.parametrize(("size", "chunk_size"), [(0, 5), (1, 5), (500 * 5 * MIB, 5), (500 * 5 * MIB + 1, 6)])
def test_the_chunk_size_follows_the_rule_of_the_limits(gateway: Gateway, size: int, chunk_size: int) -> None:
    assert gateway.create(size)["chunk_size"] == chunk_size * MIB


@pytest.mark.parametrize("size", ["-1", "1.5", "1e3", '"10"', "true", "null", "[]", "{}", "1.0", "-0.5"])
def test_a_size_that_is_no_whole_number_is_refused(gateway: Gateway, size: str) -> None:
    problem = assert_problem(post(gateway, f'{{"filename": "a", "size": {size}}}'), 422, "invalid_request")
    assert "size" in problem["detail"]


def test_a_missing_size_is_named(gateway: Gateway) -> None:
    problem = assert_problem(post(gateway, '{"filename": "a"}'), 422, "invalid_request")
    assert problem["errors"] == [{"field": "size", "message": "Field required"}]


@pytest.mark.parametrize("size", [5 * TIB + 1, 2**63, 10**40])
def test_a_size_over_the_limit_is_413(gateway: Gateway, size: int) -> None:
    problem = assert_problem(post(gateway, f'{{"filename": "a", "size": {size}}}'), 413, "file_too_large")
    assert problem["limit"] == 5 * TIB


@pytest.mark.parametrize(
    "name",
    [
        "../etc/passwd", "/abs", "a/b", "a\\b", "a\x00b", "a\nb", "a\r\nb", "\u202egpj.exe", "", ".", "..", "   ",
        "a" * 300, "ä" * 128, "\ud800", "\x7f", "a\u2028b",
    ],
)  # fmt: skip
def test_a_name_that_is_no_file_name_is_refused(gateway: Gateway, name: str) -> None:
    before = gateway.folders()
    answer = post(gateway, json.dumps({"filename": name, "size": 1}))
    assert_problem(answer, 422, "invalid_filename")
    assert gateway.folders() == before


@pytest.mark.parametrize(
    "name", ["🎉 party 👩‍👩‍👧.jpg", "naïve.txt", "a" * 255, "日本語.pdf", ".profile", "-rf", "a b;c"]
)
def test_an_unusual_name_is_kept(gateway: Gateway, name: str) -> None:
    assert gateway.create(1, filename=name)["filename"] == name


def test_a_name_is_normalised(gateway: Gateway) -> None:
    assert gateway.create(1, filename="e\u0301.txt")["filename"] == "\u00e9.txt"


def test_an_extension_that_is_not_taken_is_415(open_gateway: OpenGateway) -> None:
    own = open_gateway(ALLOWED_EXTENSIONS="csv,.PDF")
    problem = assert_problem(post(own, '{"filename": "run.exe", "size": 1}'), 415, "extension_not_allowed")
    assert problem["allowed"] == ["csv", "pdf"]
    assert_problem(post(own, '{"filename": "csv", "size": 1}'), 415, "extension_not_allowed")
    assert own.create(1, filename="report.PdF")["state"] == "open"
    assert len(own.states()) == 1


@pytest.mark.parametrize(
    "about",
    [
        {"metadata": {"a": "x" * 16384}},
        {"description": "x" * 16385},
        {"tags": {f"k{n}": "" for n in range(51)}},
        {"tags": {f"k{n}": "v" * 250 for n in range(49)} | {"k" * 128: "v" * 256} | {"last": "v" * 256}},
    ],
)
def test_too_much_about_a_file_is_refused(open_gateway: OpenGateway, about: dict[str, object]) -> None:
    own = open_gateway(MAX_METADATA_BYTES="12000") if "last" in str(about) else open_gateway()
    answer = post(own, json.dumps({"filename": "a", "size": 1, **about}))
    assert_problem(answer, 422, "metadata_too_large")
    assert own.states() == {}


@pytest.mark.parametrize(
    "about",
    [
        '"tags": {"": "v"}', '"tags": {"k": 1}', '"tags": 5', '"tags": {"k": "\\u0000"}', '"metadata": []',
        '"metadata": {"a": NaN}', '"metadata": {"a": {"b": [Infinity]}}', '"metadata": {"\\u0000": 1}',
        '"metadata": {"a": "\\ud800"}', '"description": "\\u0000"', '"content_type": "text"',
        '"content_type": "text/\\u0000"', '"content_type": "text/plain\\r\\nX: y"', '"unknown": 1', '"\\ud800": 1',
        '"chunk_size": 1.5', '"chunk_size": "5"',
    ],
)  # fmt: skip
def test_a_malformed_member_is_refused(gateway: Gateway, about: str) -> None:
    assert_problem(post(gateway, f'{{"filename": "a", "size": 1, {about}}}'), 422, "invalid_request")


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"tags": {f"{n:0>9}": n for n in range(40_000)}}, "metadata_too_large"),
        ({"tags": [f"{n}" for n in range(40_000)]}, "metadata_too_large"),
        ({"digests": {f"{n:0>9}": n for n in range(40_000)}}, "invalid_request"),
        ({f"{n:0>9}": n for n in range(40_000)}, "invalid_request"),
        ({"x" * 900_000: 1}, "invalid_request"),
        ({"digests": {"x" * 900_000: ""}}, "invalid_digest"),
        ({"tags": {"x" * 900_000: 1}}, "invalid_request"),
        ({"filename": "a" + "\u0315\u0300" * 80_000}, "invalid_filename"),
    ],
)
def test_a_refusal_is_short_and_quick_however_long_the_request(
    gateway: Gateway, members: dict[str, object], code: str
) -> None:
    began = time.process_time()  # the gateway is a thread of this process
    answer = post(gateway, json.dumps({"filename": "a", "size": 1, **members}))
    assert_problem(answer, 422, code)
    assert len(answer.content) < 2000
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "body", [b'{"filename": "\xff", "size": 1}', b"[" * 100_000, b'{"size": ' + b"1" * 5000 + b"}"]
)
def test_a_body_that_no_reader_takes_is_told_what_to_change(gateway: Gateway, body: bytes) -> None:
    answer = gateway.http.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"})
    assert "UTF-8" in assert_problem(answer, 400, "request_error")["detail"]


def test_text_that_looks_like_an_escape_is_kept(gateway: Gateway) -> None:
    upload = gateway.create(1, description="C:\\u0000\\temp", metadata={"\\u0000": "\\ud800"})
    assert upload["description"] == "C:\\u0000\\temp"
    assert upload["metadata"] == {"\\u0000": "\\ud800"}


@pytest.mark.parametrize("depth", [500, 5_000, 100_000])
def test_deeply_nested_metadata_is_refused_or_kept(gateway: Gateway, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    answer = post(gateway, f'{{"filename": "a", "size": 1, "metadata": {{"a": {nested}}}}}')
    assert answer.status_code in (201, 400, 413, 422), answer.text
    if answer.status_code != 201:
        assert_problem(answer, answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("body", ["", "{", "[]", "5", "null", '"text"', "\xff", '{"filename": "a", "size": 1'])
def test_a_body_that_is_no_json_object_is_refused(gateway: Gateway, body: str) -> None:
    answer = post(gateway, body.encode("latin-1"))
    assert answer.status_code in (400, 422)
    assert_problem(answer, answer.status_code, answer.json()["code"])


def test_a_body_without_the_json_type_is_told_so(gateway: Gateway) -> None:
    answer = post(gateway, '{"filename": "a", "size": 1}', Content_Type="text/plain")
    assert "application/json" in assert_problem(answer, 422, "invalid_request")["detail"]


@pytest.mark.parametrize(
    ("size", "chunk_size", "least"), [(100, 0, 1), (100, 1024 * MIB + 1, 1), (10_001, 1, 2), (10**9, 1000, 100_000)]
)
def test_a_chunk_size_outside_the_limits_is_refused(gateway: Gateway, size: int, chunk_size: int, least: int) -> None:
    body = json.dumps({"filename": "a", "size": size, "chunk_size": chunk_size})
    problem = assert_problem(post(gateway, body), 422, "chunk_size")
    assert problem["minimum"] == least
    assert problem["maximum"] == 1024 * MIB


def test_a_size_that_no_allowed_chunk_size_can_cut_is_413(open_gateway: OpenGateway) -> None:
    own = open_gateway(CHUNK_SIZE_MAX="1MiB", MAX_CHUNKS="3")
    problem = assert_problem(post(own, f'{{"filename": "a", "size": {3 * MIB + 1}}}'), 413, "file_too_large")
    assert problem["limit"] == 3 * MIB
    assert own.create(3 * MIB)["chunk_count"] == 3


@pytest.mark.parametrize("digests", [{"md5": "00" * 16}, {"sha-256": "00"}, {"sha-256": "zz" * 32}, {"crc32c": ""}])
def test_a_digest_that_is_not_understood_is_refused(gateway: Gateway, digests: dict[str, str]) -> None:
    answer = post(gateway, json.dumps({"filename": "a", "size": 1, "digests": digests}))
    assert_problem(answer, 422, "invalid_digest")


# --- the body as such ---------------------------------------------------------------------------------------


def test_a_json_body_that_announces_too_much_is_refused_before_it_is_read(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.head("POST /v1/uploads", Content_Type="application/json", Content_Length=2 * MIB, Expect="100-continue")
        answer = wire.answer()
        assert assert_problem(answer, 413, "body_too_large")["limit"] == MIB
        assert answer.headers["connection"] == "close"


def test_a_json_body_without_a_length_is_cut_at_the_limit(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.head("POST /v1/uploads", Content_Type="application/json", Transfer_Encoding="chunked")
        for _ in range(17):
            wire.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
        answer = wire.answer()
        assert_problem(answer, 413, "body_too_large")
        assert answer.headers["connection"] == "close"


# --- the same request again ---------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_upload(gateway: Gateway) -> None:
    body = '{"filename": "a", "size": 4, "chunk_size": 2}'
    first = post(gateway, body, Idempotency_Key="key-1").json()
    gateway.put(first, 0, b"ab")
    again = post(gateway, body, Idempotency_Key="key-1")
    assert again.status_code == 201
    assert again.headers["location"] == f"/v1/uploads/{first['id']}"
    assert again.json()["id"] == first["id"]
    assert again.json()["missing"] == [[1, 1]]


def test_a_key_of_another_request_is_refused(gateway: Gateway) -> None:
    first = post(gateway, '{"filename": "a", "size": 4}', Idempotency_Key="key-2").json()
    answer = post(gateway, '{"filename": "a", "size": 5}', Idempotency_Key="key-2")
    assert_problem(answer, 422, "idempotency_key_reused")
    assert gateway.look(first)["state"] == "open"


def test_a_key_belongs_to_its_tenant(gateway: Gateway) -> None:
    first = post(gateway, '{"filename": "a", "size": 4}', Idempotency_Key="key-3").json()
    gateway.give_away("uploads", first["id"])
    assert post(gateway, '{"filename": "b", "size": 5}', Idempotency_Key="key-3").status_code == 201


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_without_a_sensible_length_is_refused(gateway: Gateway, key: str) -> None:
    assert_problem(post(gateway, '{"filename": "a", "size": 4}', Idempotency_Key=key), 422, "invalid_request")


def test_eight_creates_at_once_with_one_key_make_one_upload(own_gateway: Gateway) -> None:
    def create(_: int) -> str:
        answer = post(own_gateway, '{"filename": "a", "size": 4}', Idempotency_Key="once")
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(create, range(8)))
    assert len(made) == 1
    assert set(own_gateway.states()) == made


# --- the disk is full ---------------------------------------------------------------------------------------


def test_a_disk_without_room_for_the_declared_size_is_507_and_leaves_nothing(open_gateway: OpenGateway) -> None:
    own = open_gateway(MIN_FREE_BYTES=str(2**60))
    problem = assert_problem(post(own, '{"filename": "a", "size": 4}'), 507, "insufficient_storage")
    assert problem["needed_bytes"] == 4
    assert own.folders() == set()
    assert own.states() == {}


def test_a_key_may_be_used_again_after_a_full_disk(open_gateway: OpenGateway) -> None:
    body = '{"filename": "a", "size": 4}'
    full = open_gateway(MIN_FREE_BYTES=str(2**60))
    assert_problem(post(full, body, Idempotency_Key="key"), 507, "insufficient_storage")
    roomy = open_gateway(MIN_FREE_BYTES="0")
    answer = post(roomy, body, Idempotency_Key="key")
    assert answer.status_code == 201
    assert answer.json()["state"] == "open"
