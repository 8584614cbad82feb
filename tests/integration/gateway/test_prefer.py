"""`Prefer: wait`: the request that begins a job answers with its end."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis

from common.db.models import Job
from gateway.service.caller import Caller
from gateway.service.jobs import Gone, JobService, JobStatus
from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway, until
from tests.integration.gateway.test_faults import locked
from tests.integration.gateway.test_jobs import finish_row


def post(gateway: Gateway, prefer: str, content: bytes = b"x") -> httpx.Response:
    return gateway.http.post("/v1/files?filename=a.txt", content=content, headers={"Prefer": prefer})


def is_held(answer: httpx.Response) -> tuple[int, str, str | None]:
    return answer.status_code, answer.json()["state"], answer.headers.get("preference-applied")


def test_a_small_file_is_answered_with_its_file(gateway: Gateway) -> None:
    answer = post(gateway, "wait=20", b"12345")
    job = answer.json()
    assert is_held(answer) == (200, "succeeded", "wait=20")
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert "retry-after" not in answer.headers
    assert gateway.http.get(job["links"]["content"]).content == b"12345"


def test_a_large_one_too(gateway: Gateway) -> None:
    assert is_held(post(gateway, "wait=20", bytes(9_000_000))) == (200, "succeeded", "wait=20")


def test_finalize_is_answered_with_the_file(gateway: Gateway) -> None:
    upload = gateway.send(b"12345")
    url = f"/v1/uploads/{upload['id']}/finalize"
    first = gateway.http.post(url, headers={"Prefer": "wait=20"})
    assert is_held(first) == (200, "succeeded", "wait=20")
    again = gateway.http.post(url, headers={"Prefer": "wait=20"})
    assert (again.status_code, again.json()) == (200, first.json())


def test_a_job_that_fails_is_its_end_too(gateway: Gateway) -> None:
    upload = gateway.send(b"12345", digests={"sha-256": "00" * 32})
    answer = gateway.http.post(f"/v1/uploads/{upload['id']}/finalize", headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, "file_digest_mismatch")


def test_a_wait_is_cut_at_the_limit_and_says_so(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_WAIT="1")
    began = time.monotonic()
    answer = post(own, "wait=1000")
    assert 1 <= time.monotonic() - began < 10
    assert is_held(answer) == (202, "queued", "wait=1")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("prefer", ["wait=x", "wait=-1", "respond-async", "wait=0"])
def test_what_is_no_wait_is_answered_at_once(own_gateway: Gateway, prefer: str) -> None:
    began = time.monotonic()
    assert is_held(post(own_gateway, prefer)) == (202, "queued", None)
    assert time.monotonic() - began < 5


def test_a_wait_beyond_those_that_may_wait_is_answered_at_once(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_WAITING_POLLS="1")
    job = post(own, "wait=0").json()
    with own.wire() as wire:
        wire.head(f"GET /v1/jobs/{job['id']}?wait=20")
        until(lambda: own.waiting_polls() == 1)
        began = time.monotonic()
        assert is_held(post(own, "wait=20")) == (202, "queued", None)
        assert time.monotonic() - began < 5


def test_an_end_that_comes_before_the_wait_begins_is_not_missed(
    open_gateway: OpenGateway, redis_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.service.jobs.LOOK_SECONDS", 60)
    own = open_gateway()
    ended = JobService.ended
    channel = f"{own.environment['SLUICE_REDIS_QUEUE_PREFIX']}:ended"

    async def late(self: JobService, caller: Caller, job: Job, wait: float, gone: Gone) -> JobStatus:
        finish_row(own, job.id)
        while not server.publish(channel, job.id):
            pass
        while job.id not in self._waiters._heard:
            await self._signals.progress(job.id)  # gives the listener its turn
        return await ended(self, caller, job, wait, gone)

    monkeypatch.setattr(JobService, "ended", late)
    with redis.Redis.from_url(redis_server) as server:
        began = time.monotonic()
        assert is_held(post(own, "wait=20")) == (200, "succeeded", "wait=20")
        assert time.monotonic() - began < 10


def test_a_client_that_went_away_is_given_up_and_its_file_stays(own_gateway: Gateway) -> None:
    with own_gateway.wire() as wire:
        wire.head("POST /v1/files?filename=a", Content_Length=1, Prefer="wait=20")
        wire.send(b"x")
        until(lambda: own_gateway.waiting_polls() == 1)
    until(lambda: own_gateway.waiting_polls() == 0, seconds=10)
    assert list(own_gateway.states().values()) == ["finalizing"]


def test_a_file_that_was_taken_is_accepted_though_the_database_goes_away_meanwhile(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_WAIT="1")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post, own, "wait=1")
        until(lambda: own.waiting_polls() == 1)
        with locked(own.database):
            assert is_held(answer.result()) == (202, "queued", "wait=1")


def test_a_form_lists_its_jobs_at_once(own_gateway: Gateway) -> None:
    answer = own_gateway.http.post("/v1/files", files={"f": ("a", b"x")}, headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.headers.get("preference-applied")) == (202, None)
