"""Jobs: polls that wait, lists, and other tenants' jobs."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.processes import private_redis
from tests.integration.gateway.rig import UNKNOWN, Gateway, Json, assert_problem, until

JOB_MEMBERS = {
    "id", "kind", "state", "attempts", "progress", "upload_id", "file_id", "error", "created_at", "started_at",
    "finished_at", "links",
}  # fmt: skip


def finish_row(gateway: Gateway, job_id: str) -> None:
    """End a job as a worker would, without telling anybody."""
    gateway.sql("UPDATE jobs SET state = 'succeeded', finished_at = '2026-01-01 00:00:00.000000' WHERE id = ?", job_id)


def waiting_job(gateway: Gateway) -> Json:
    """A job that no worker takes."""
    return dict(gateway.finalize(gateway.send(b"x")).json())


def test_a_job_has_the_documented_members(gateway: Gateway) -> None:
    job = gateway.ended(gateway.finalize(gateway.send(b"12345")).json()["id"])
    assert set(job) == JOB_MEMBERS
    assert job["state"] == "succeeded"
    assert job["progress"] == {"done": 5, "total": 5}
    assert job["attempts"] == 1
    assert job["error"] is None
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    assert job["created_at"].endswith("Z")


def test_an_unfinished_job_says_when_to_ask_again(own_gateway: Gateway) -> None:
    job = waiting_job(own_gateway)
    answer = own_gateway.http.get(f"/v1/jobs/{job['id']}")
    assert (answer.json()["state"], answer.headers["retry-after"]) == ("queued", "1")
    finish_row(own_gateway, job["id"])
    assert "retry-after" not in own_gateway.http.get(f"/v1/jobs/{job['id']}").headers


@pytest.mark.parametrize("job_id", [UNKNOWN, "nonsense"])
def test_an_unknown_job_is_404_at_once(gateway: Gateway, job_id: str) -> None:
    assert_problem(gateway.http.get(f"/v1/jobs/{job_id}?wait=20"), 404, "job_not_found")


def test_a_job_of_another_tenant_does_not_exist(own_gateway: Gateway) -> None:
    job = waiting_job(own_gateway)
    own_gateway.give_away("jobs", job["id"])
    assert_problem(own_gateway.http.get(f"/v1/jobs/{job['id']}"), 404, "job_not_found")
    assert own_gateway.http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("wait", ["-1", "x", "nan"])
def test_a_wait_that_is_no_time_is_refused(own_gateway: Gateway, wait: str) -> None:
    job = waiting_job(own_gateway)
    assert_problem(own_gateway.http.get(f"/v1/jobs/{job['id']}?wait={wait}"), 422, "invalid_request")


def test_a_wait_is_cut_at_the_limit(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_WAIT="0.2")
    job = waiting_job(own)
    began = time.monotonic()
    assert own.http.get(f"/v1/jobs/{job['id']}?wait=inf").json()["state"] == "queued"
    assert 0.2 <= time.monotonic() - began < 5


def test_a_poll_returns_when_its_time_is_over(own_gateway: Gateway) -> None:
    job = waiting_job(own_gateway)
    began = time.monotonic()
    answer = own_gateway.http.get(f"/v1/jobs/{job['id']}?wait=0.3")
    assert 0.3 <= time.monotonic() - began < 5
    assert answer.json()["state"] == "queued"
    assert answer.headers["retry-after"] == "1"


def test_a_poll_is_woken_by_redis(
    open_gateway: OpenGateway, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.service.jobs.LOOK_SECONDS", 60)
    own = open_gateway()
    job = waiting_job(own)
    with ThreadPoolExecutor(1) as pool, redis.Redis.from_url(redis_server) as server:
        asked = pool.submit(own.http.get, f"/v1/jobs/{job['id']}?wait=20")
        until(lambda: own.waiting_polls() == 1)
        finish_row(own, job["id"])
        channel = f"{own.environment['SLUICE_REDIS_QUEUE_PREFIX']}:ended"
        until(lambda: server.publish(channel, job["id"]) == 1)
        assert asked.result().json()["state"] == "succeeded"


def test_a_quiet_while_does_not_make_the_gateway_deaf(open_gateway: OpenGateway) -> None:
    with private_redis() as (url, _), redis.Redis.from_url(url) as server:
        own = open_gateway(REDIS_URL=url, REDIS_TIMEOUT="0.2")
        channel = f"{own.environment['SLUICE_REDIS_QUEUE_PREFIX']}:ended"
        until(lambda: server.pubsub_numsub(channel)[0][1] == 1)
        listening = set()
        for _ in range(50):  # five times the timeout of a command
            time.sleep(0.02)
            listening |= {client["id"] for client in server.client_list(_type="pubsub")}
            assert server.pubsub_numsub(channel)[0][1] == 1
    assert len(listening) == 1


def test_a_poll_hears_of_the_end_without_redis(open_gateway: OpenGateway) -> None:
    own = open_gateway(REDIS_URL="redis://127.0.0.1:1/0")
    job = waiting_job(own)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(own.http.get, f"/v1/jobs/{job['id']}?wait=20")
        until(lambda: own.waiting_polls() == 1)
        began = time.monotonic()
        finish_row(own, job["id"])
        assert asked.result().json()["state"] == "succeeded"
        assert time.monotonic() - began < 2  # one look a second


def test_a_poll_whose_client_went_away_is_given_up(own_gateway: Gateway) -> None:
    job = waiting_job(own_gateway)
    with own_gateway.wire() as wire:
        wire.head(f"GET /v1/jobs/{job['id']}?wait=20")
        until(lambda: own_gateway.waiting_polls() == 1)
    until(lambda: own_gateway.waiting_polls() == 0, seconds=5)


def test_a_poll_beyond_those_that_may_wait_is_answered_at_once(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_WAITING_POLLS="1")
    job = waiting_job(own)
    with own.wire() as wire:
        wire.head(f"GET /v1/jobs/{job['id']}?wait=20")
        until(lambda: own.waiting_polls() == 1)
        began = time.monotonic()
        answer = own.http.get(f"/v1/jobs/{job['id']}?wait=20")
        assert (answer.json()["state"], answer.headers["retry-after"]) == ("queued", "1")
        assert time.monotonic() - began < 5


def test_polls_that_wait_are_answered_when_the_server_drains(own_gateway: Gateway) -> None:
    job = waiting_job(own_gateway)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(own_gateway.http.get, f"/v1/jobs/{job['id']}?wait=20") for _ in range(4)]
        until(lambda: own_gateway.waiting_polls() == 4)
        began = time.monotonic()
        assert own_gateway.server is not None
        own_gateway.server.handle_exit(signal.SIGTERM, None)
        assert [answer.result().json()["state"] for answer in asked] == ["queued"] * 4
        assert time.monotonic() - began < 5


def test_lists_filter_and_page(own_gateway: Gateway) -> None:
    jobs = [waiting_job(own_gateway)["id"] for _ in range(3)]
    finish_row(own_gateway, jobs[1])

    def ids(**query: object) -> list[str]:
        return [item["id"] for item in own_gateway.http.get("/v1/jobs", params=query).json()["items"]]  # type: ignore[arg-type]

    first = own_gateway.http.get("/v1/jobs", params={"limit": 2}).json()
    assert [item["id"] for item in first["items"]] + ids(cursor=first["next_cursor"]) == jobs[::-1]
    assert ids(state="succeeded") == [jobs[1]]
    assert ids(state="queued", kind="finalize") == [jobs[2], jobs[0]]
    assert ids(kind="metadata") == []


@pytest.mark.parametrize("query", ["state=nonsense", "kind=x", "cursor=x", "limit=0"])
def test_a_list_with_a_nonsense_query_is_refused(gateway: Gateway, query: str) -> None:
    assert_problem(gateway.http.get(f"/v1/jobs?{query}"), 422, "invalid_request")
