"""Finalize and abort: one job whoever calls how often, and nothing left of what is aborted."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway, Json, assert_problem, until

CONTENT = b"0123456789abcdefghijklmno"


@pytest.fixture
def upload(gateway: Gateway) -> Json:
    """Three chunks, none sent."""
    return gateway.create(len(CONTENT), chunk_size=10)


def test_the_answer_is_the_job_and_its_address(own_gateway: Gateway) -> None:
    upload = own_gateway.send(CONTENT)
    answer = own_gateway.finalize(upload)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["retry-after"] == "1"
    assert (job["kind"], job["state"], job["upload_id"], job["file_id"]) == ("finalize", "queued", upload["id"], None)
    assert job["progress"] == {"done": 0, "total": len(CONTENT)}
    seen = own_gateway.look(upload)
    assert (seen["state"], seen["job_id"], seen["received_bytes"]) == ("finalizing", job["id"], len(CONTENT))


def test_missing_chunks_are_named_and_the_upload_stays_open(gateway: Gateway, upload: Json) -> None:
    gateway.put(upload, 1, CONTENT[10:20])
    problem = assert_problem(gateway.finalize(upload), 409, "chunks_missing")
    assert problem["missing"] == [[0, 0], [2, 2]]
    gateway.put(upload, 0, CONTENT[:10])
    gateway.put(upload, 2, CONTENT[20:])
    assert gateway.finish(upload)["size"] == len(CONTENT)


def test_eight_finalizes_at_once_make_one_job_and_one_file(gateway: Gateway) -> None:
    upload = gateway.send(CONTENT)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: gateway.finalize(upload), range(8)))
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    gateway.finish(upload)
    jobs = gateway.sql("SELECT kind, count(*) FROM jobs WHERE upload_id = ? GROUP BY kind", upload["id"])
    assert dict(jobs) == {"finalize": 1, "metadata": 1}
    assert gateway.sql("SELECT count(*) FROM files WHERE upload_id = ?", upload["id"]) == [(1,)]


def test_finalize_after_the_end_gives_the_ended_job(gateway: Gateway) -> None:
    upload = gateway.send(CONTENT)
    gateway.finish(upload)
    again = gateway.finalize(upload)
    assert again.status_code == 200
    assert again.json()["state"] == "succeeded"
    assert "retry-after" not in again.headers
    assert gateway.look(upload)["file_id"] == again.json()["file_id"]


@pytest.mark.parametrize("given", [{"crc32c": "00000000"}, {"sha-256": "0" * 64}])
def test_a_digest_that_nobody_will_compare_is_refused(gateway: Gateway, given: dict[str, str]) -> None:
    upload = gateway.send(b"0123456789")
    digests = {"crc32c": "280c069e"}
    job = gateway.finalize(upload, digests=digests).json()["id"]
    assert_problem(gateway.finalize(upload, digests=given), 422, "invalid_digest")
    assert gateway.ended(job)["state"] == "succeeded"
    assert_problem(gateway.finalize(upload, digests=given), 422, "invalid_digest")
    assert gateway.finalize(upload, digests=digests).json()["id"] == job
    assert gateway.finalize(upload).json()["id"] == job


def test_of_two_finalizes_at_once_the_one_with_another_digest_is_refused(gateway: Gateway) -> None:
    upload = gateway.send(b"0123456789")
    with ThreadPoolExecutor(4) as threads:
        given = [
            {"crc32c": "280c069e"},
            {"sha-256": "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"},
        ] * 2
        answers = list(threads.map(lambda digests: gateway.finalize(upload, digests=digests), given))
    assert sorted(answer.status_code // 100 for answer in answers) == [2, 2, 4, 4]


def test_finalize_without_a_body_is_fine(gateway: Gateway) -> None:
    upload = gateway.send(CONTENT)
    assert gateway.http.post(f"/v1/uploads/{upload['id']}/finalize").status_code == 202


def test_a_wrong_whole_digest_fails_the_job_and_asking_again_says_so(gateway: Gateway) -> None:
    upload = gateway.send(CONTENT)
    answer = gateway.finalize(upload, digests={"sha-256": "00" * 32})
    job = gateway.ended(answer.json()["id"])
    assert (job["state"], job["error"]["code"]) == ("failed", "file_digest_mismatch")
    assert "file" not in job["links"]
    again = gateway.finalize(upload)
    assert (again.status_code, again.json()["id"]) == (200, job["id"])
    assert again.json()["error"]["code"] == "file_digest_mismatch"


def test_digests_declared_twice_must_agree(gateway: Gateway) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    upload = gateway.send(CONTENT, digests={"sha-256": right.upper()})
    answer = gateway.finalize(upload, digests={"sha-256": "00" * 32})
    assert_problem(answer, 422, "invalid_digest")
    assert gateway.finalize(upload, digests={"sha-256": right}).status_code == 202


@pytest.mark.parametrize("body", ['{"digests": {"md5": ""}}', '{"digests": 5}', '{"x": 1}', "{", "[]"])
def test_a_malformed_finalize_leaves_the_upload_open(gateway: Gateway, upload: Json, body: str) -> None:
    answer = gateway.http.post(
        f"/v1/uploads/{upload['id']}/finalize", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert_problem(answer, 422, answer.json()["code"])
    assert gateway.look(upload)["state"] == "open"


def test_a_chunk_after_finalize_is_refused(own_gateway: Gateway) -> None:
    upload = own_gateway.send(CONTENT, chunk_size=10)
    own_gateway.finalize(upload)
    answer = own_gateway.put(upload, 0, CONTENT[:10])
    assert assert_problem(answer, 409, "upload_not_open")["state"] == "finalizing"


def test_a_chunk_after_finalize_is_refused_by_a_gateway_that_remembers_the_upload_as_open(
    open_gateway: OpenGateway,
) -> None:
    one, other = open_gateway(), open_gateway()
    upload = one.send(CONTENT, chunk_size=10)
    other.put(upload, 0, CONTENT[:10])
    one.finalize(upload)
    assert_problem(other.put(upload, 0, CONTENT[:10]), 409, "upload_not_open")


def test_chunks_that_alternate_between_two_gateways_make_one_upload(open_gateway: OpenGateway) -> None:
    gateways = [open_gateway(), open_gateway()]
    upload = gateways[0].create(len(CONTENT), chunk_size=5)
    for index in range(5):
        assert gateways[index % 2].put(upload, index, CONTENT[5 * index : 5 * index + 5]).status_code == 200
    assert [each.look(upload)["missing"] for each in gateways] == [[], []]
    assert gateways[1].finalize(upload).status_code == 202


# --- abort --------------------------------------------------------------------------------------------------


def test_an_aborted_upload_leaves_nothing_and_may_be_aborted_again(gateway: Gateway, upload: Json) -> None:
    gateway.put(upload, 0, CONTENT[:10])
    assert gateway.http.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    assert not gateway.upload_folder(upload["id"]).exists()
    assert gateway.look(upload)["state"] == "aborted"
    assert gateway.http.delete(f"/v1/uploads/{upload['id']}").status_code == 204


def test_an_aborted_upload_takes_nothing_more(gateway: Gateway, upload: Json) -> None:
    gateway.put(upload, 0, CONTENT[:10])
    gateway.http.delete(f"/v1/uploads/{upload['id']}")
    assert_problem(gateway.put(upload, 1, CONTENT[10:20]), 409, "upload_not_open")
    assert_problem(gateway.finalize(upload), 409, "upload_not_open")
    assert not gateway.upload_folder(upload["id"]).exists()


def test_a_finalized_upload_cannot_be_aborted(gateway: Gateway) -> None:
    upload = gateway.send(CONTENT)
    gateway.finish(upload)
    assert_problem(gateway.http.delete(f"/v1/uploads/{upload['id']}"), 409, "upload_finalized")
    assert gateway.look(upload)["state"] == "complete"


def test_abort_ends_a_chunk_that_is_under_way(gateway: Gateway) -> None:
    upload = gateway.create(4_000_000, chunk_size=4_000_000)
    with gateway.wire() as wire:
        wire.head(f"PUT /v1/uploads/{upload['id']}/chunks/0", Content_Length=4_000_000)
        wire.send(b"x" * 2_000_000)
        data = gateway.upload_folder(upload["id"]) / "data"
        until(lambda: data.stat().st_blocks > 0)
        assert gateway.http.delete(f"/v1/uploads/{upload['id']}").status_code == 204
        wire.send(b"x" * 2_000_000)
        assert_problem(wire.answer(), 409, "upload_not_open")
    assert not gateway.upload_folder(upload["id"]).exists()
    assert gateway.look(upload)["state"] == "aborted"
