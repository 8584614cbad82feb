"""Answers through nginx: those of the gateways as they are, and nginx's own as problems of the same form."""

import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from common.errors import BodyTooLarge, HeadersTooLarge, MalformedRequest, SluiceError, Unavailable
from gateway.problems import MEDIA_TYPE, TYPE_BASE
from gateway.protocol import MAX_HEAD
from tests.fixtures.nginx import nginx
from tests.fixtures.topology import Topology
from tests.integration.gateway.rig import until
from tests.integration.gateway.tus.client import Tus, metadata
from tests.integration.gateway.wire import Wire

LONG = "y" * 2 * MAX_HEAD


def test_a_range_and_a_head_come_through(client: httpx.Client, ready_file: Callable[[bytes], str]) -> None:
    path = f"/v1/files/{ready_file(b'0123456789')}/content"

    part = client.get(path, headers={"Range": "bytes=2-5"})
    head = client.head(path)

    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"2345", "bytes 2-5/10")
    assert (head.status_code, head.headers["content-length"], head.headers["accept-ranges"]) == (200, "10", "bytes")
    assert head.headers["etag"] == part.headers["etag"]


def test_a_problem_of_a_gateway_comes_through(client: httpx.Client) -> None:
    answer = client.get("/v1/uploads/018f0000-0000-7000-8000-000000000000")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json()["code"] == "upload_not_found"


def test_the_clients_request_id_reaches_the_gateway(client: httpx.Client) -> None:
    answer = client.get("/v1/uploads/none", headers={"X-Request-ID": "from-the-client.1"})
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "from-the-client.1"


def test_a_request_id_that_no_gateway_would_take_is_replaced_by_the_one_that_nginx_logs(
    client: httpx.Client, behind_nginx: Topology
) -> None:
    answer = client.get("/v1/uploads/none", headers={"X-Request-ID": "no such id!"})

    made = answer.json()["request_id"]
    assert len(made) == 32
    until(lambda: f'"request_id":"{made}"' in behind_nginx.proxy.log.read_text())  # written after the answer


def test_probes_and_metrics_are_not_for_the_outside(client: httpx.Client) -> None:
    paths = ("/livez", "/readyz", "/startupz", "/metrics", "/metrics?x=1", "//metrics")
    assert {client.get(path).status_code for path in paths} == {404}


def test_a_held_poll_is_held(client: httpx.Client, behind_nginx: Topology, upload: Callable[..., Any]) -> None:
    made = upload(5)
    client.put(f"/v1/uploads/{made['id']}/chunks/0", content=b"hello")
    behind_nginx.signal_workers(signal.SIGSTOP)
    try:
        job = client.post(f"/v1/uploads/{made['id']}/finalize").json()
        began = time.monotonic()
        polled = client.get(f"/v1/jobs/{job['id']}", params={"wait": 1.5}).json()
    finally:
        behind_nginx.signal_workers(signal.SIGCONT)

    assert time.monotonic() - began >= 1.5
    assert polled["state"] == "queued"


def test_where_no_gateway_answers_nginx_says_so_in_the_form_of_a_problem(free_port: int) -> None:
    with nginx([free_port]) as proxy:
        answer = httpx.put(
            f"{proxy.url}/v1/uploads/x/chunks/0",
            content=bytes(4 * 1024**2),
            headers={"X-Request-ID": "mine"},
            trust_env=False,
        )

    assert answer.status_code == 503
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["retry-after"] == str(Unavailable("").retry_after)
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json() == {
        "type": TYPE_BASE + Unavailable.code,
        "title": Unavailable.title,
        "status": Unavailable.status,
        "detail": "No gateway answered. Try again.",
        "code": Unavailable.code,
        "request_id": "mine",
    }


def test_a_page_of_another_origin_may_read_that_no_gateway_answers(free_port: int) -> None:
    with nginx([free_port]) as proxy:
        answer = httpx.get(f"{proxy.url}/v1/limits", headers={"Origin": "https://app.example.com"}, trust_env=False)

    assert answer.status_code == 503
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == "Retry-After, X-Request-Id"


def test_what_a_gateway_forbids_to_a_page_nginx_does_not_allow(client: httpx.Client) -> None:
    answer = client.get("/v1/uploads/none", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 404
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("request_text", "error"),
    [
        pytest.param("GET /v1/limits HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", MalformedRequest, id="two hosts"),
        pytest.param(f"GET /v1/limits HTTP/1.1\r\nHost: a\r\nX: {LONG}\r\n\r\n", HeadersTooLarge, id="field"),
        pytest.param(f"GET /{LONG} HTTP/1.1\r\nHost: a\r\n\r\n", HeadersTooLarge, id="address"),
        pytest.param("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n", BodyTooLarge, id="body"),
    ],
)
def test_what_nginx_refuses_by_itself_is_a_problem_that_every_page_may_read(
    request_text: str, error: type[SluiceError], free_port: int
) -> None:
    with nginx([free_port], client_max_body_size="1m") as proxy, Wire(httpx.URL(proxy.url).port or 0, 20) as wire:
        wire.send(request_text.encode())
        answer = wire.answer()

    told = answer.json()
    assert (answer.status_code, told["status"]) == (error.status, error.status)
    assert (told["code"], told["type"], told["title"]) == (error.code, TYPE_BASE + error.code, error.title)
    assert told["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.headers["access-control-allow-origin"] == "*"


def test_an_answer_that_gives_back_the_longest_head_comes_through(client: httpx.Client) -> None:
    """tus: HEAD repeats the fields of the creation."""
    tus = Tus(client)
    part = tus.new(1, b"x", Upload_Concat="partial")
    notes = metadata(note="n" * 16_000)  # nearly as much as an upload may have
    concat = f"final;{' '.join([part] * 1000)}"
    room = MAX_HEAD - 700 - len(concat) - len(notes)  # 700: the other fields, those of nginx too
    concat = concat.replace("final;", f"final;https://{'x' * (room - 8)}", 1)
    answer = tus.head(tus.new(Upload_Concat=concat, Upload_Metadata=notes))
    assert answer.status_code == 200, answer.headers
    assert answer.headers["upload-concat"] == concat
