"""Dead letters: listed, shown with their last error, and driven again over HTTP."""

import pytest

from tests.integration.gateway.processes import part
from tests.integration.gateway.rig import UNKNOWN, Gateway, Json, assert_problem, until

LAST = "All 10 attempts failed; the last with storage_unavailable: The disk is away."


@pytest.fixture
def dead_letter(own_gateway: Gateway) -> Json:
    """A finalize job whose attempts are used up; its upload waits."""
    job = dict(own_gateway.finalize(own_gateway.send(b"x" * 1000)).json())
    end(own_gateway, job["id"], "attempts_exhausted", LAST)
    return job


def end(gateway: Gateway, job_id: str, code: str, detail: str = "It failed.") -> None:
    gateway.sql(
        "UPDATE jobs SET state = 'failed', attempts = 10, error_code = ?, error_detail = ?,"
        " finished_at = '2026-01-01 00:00:00.000000' WHERE id = ?",
        code,
        detail,
        job_id,
    )


def test_a_dead_letter_is_listed_with_its_last_error(own_gateway: Gateway, dead_letter: Json) -> None:
    own_gateway.finalize(own_gateway.send(b"another"))
    [listed] = own_gateway.http.get("/v1/jobs?state=failed").json()["items"]
    assert (listed["id"], listed["attempts"]) == (dead_letter["id"], 10)
    assert listed["error"] == {"code": "attempts_exhausted", "detail": LAST}


def test_a_dead_letter_that_is_driven_again_succeeds_once_the_cause_is_gone(
    own_gateway: Gateway, dead_letter: Json
) -> None:
    answer = own_gateway.http.post(f"/v1/jobs/{dead_letter['id']}/retry")
    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], job["attempts"], job["error"], job["finished_at"]) == ("queued", 0, None, None)
    assert answer.headers["retry-after"] == "1"
    with part("worker", environment=own_gateway.environment, log=own_gateway.folder / "worker.log"):
        ended = own_gateway.ended(dead_letter["id"])
    assert (ended["state"], ended["attempts"]) == ("succeeded", 1)
    assert own_gateway.http.get(ended["links"]["content"]).content == b"x" * 1000


def test_driving_again_twice_is_as_good_as_once(own_gateway: Gateway, dead_letter: Json) -> None:
    answers = [own_gateway.http.post(f"/v1/jobs/{dead_letter['id']}/retry") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert own_gateway.sql("SELECT epoch FROM jobs WHERE id = ?", dead_letter["id"]) == [(1,)]


def test_a_job_that_failed_for_another_reason_is_409(own_gateway: Gateway, dead_letter: Json) -> None:
    end(own_gateway, dead_letter["id"], "chunks_damaged")
    assert_problem(own_gateway.http.post(f"/v1/jobs/{dead_letter['id']}/retry"), 409, "job_not_retryable")


def test_a_job_that_succeeded_is_409(gateway: Gateway) -> None:
    job = gateway.ended(gateway.finalize(gateway.send(b"x")).json()["id"])
    assert_problem(gateway.http.post(f"/v1/jobs/{job['id']}/retry"), 409, "job_not_retryable")


@pytest.mark.parametrize("job_id", [UNKNOWN, "nonsense"])
def test_an_unknown_job_cannot_be_driven_again(gateway: Gateway, job_id: str) -> None:
    assert_problem(gateway.http.post(f"/v1/jobs/{job_id}/retry"), 404, "job_not_found")


def test_the_dead_letter_of_another_tenant_is_not_found(own_gateway: Gateway, dead_letter: Json) -> None:
    own_gateway.give_away("jobs", dead_letter["id"])
    assert_problem(own_gateway.http.post(f"/v1/jobs/{dead_letter['id']}/retry"), 404, "job_not_found")


def test_an_upload_that_was_given_up_fails_again_and_says_so(own_gateway: Gateway, dead_letter: Json) -> None:
    """Past its retention the bytes are gone: the job ends with a reason, it does not hang."""
    own_gateway.sql("UPDATE uploads SET state = 'failed' WHERE id = ?", dead_letter["upload_id"])
    own_gateway.http.post(f"/v1/jobs/{dead_letter['id']}/retry")
    with part("worker", environment=own_gateway.environment, log=own_gateway.folder / "worker.log"):
        until(lambda: own_gateway.ended(dead_letter["id"])["state"] == "failed")
    assert own_gateway.ended(dead_letter["id"])["error"]["code"] == "upload_gone"
