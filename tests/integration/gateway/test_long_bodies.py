"""Bodies that are so long that they go past the parser: whole, broken off, refused, and with requests behind them."""

import hashlib
import os
from pathlib import Path

import psutil
import pytest

from common.chunking import MIB
from gateway.protocol import LONG
from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway, Json, assert_problem, until
from tests.integration.gateway.wire import Wire

CHUNK = 4 * MIB
CONTENT = os.urandom(3 * CHUNK - 1234)
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def upload(gateway: Gateway) -> Json:
    """Three chunks, not sent."""
    return gateway.create(len(CONTENT), chunk_size=CHUNK)


def part(index: int) -> bytes:
    return CONTENT[index * CHUNK : (index + 1) * CHUNK]


def begin(wire: Wire, upload: Json, index: int, **fields: str | int) -> bytes:
    """Send the head of a chunk; its body."""
    body = part(index)
    wire.head(f"PUT /v1/uploads/{upload['id']}/chunks/{index}", Content_Length=len(body), **fields)
    return body


def test_chunks_over_one_connection_become_the_file(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        for index in range(3):
            wire.send(begin(wire, upload, index))
            assert wire.answer().status_code == 200
    assert gateway.finish(upload)["digests"]["sha-256"] == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("cut", [1, LONG - 1, LONG, CHUNK - LONG, CHUNK - 1])
def test_a_body_in_two_packets_is_whole(gateway: Gateway, upload: Json, cut: int) -> None:
    with gateway.wire() as wire:
        body = begin(wire, upload, 0)
        wire.send(body[:cut])
        until(lambda: memory_of(gateway) > 0)
        wire.send(body[cut:])
        assert wire.answer().status_code == 200
    assert gateway.put(upload, 0, part(0)).status_code == 200  # compared with what is stored


def test_a_request_that_is_sent_behind_the_body_is_answered_next(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        wire.send(begin(wire, upload, 0) + LIVEZ)
        assert wire.answer().json()["index"] == 0
        assert "status" in wire.answer().json()
        wire.send(begin(wire, upload, 1) + LIVEZ + LIVEZ)
        assert wire.answer().json()["index"] == 1
        assert ["status" in wire.answer().json() for _ in range(2)] == [True, True]


def test_a_request_behind_a_body_whose_answer_is_held_is_not_taken_for_more_of_it(own_gateway: Gateway) -> None:
    with own_gateway.wire() as wire:
        wire.head("POST /v1/files?filename=a", Content_Length=CHUNK, Prefer="wait=1")
        wire.send(part(0))
        until(lambda: own_gateway.waiting_polls() == 1)
        wire.send(LIVEZ)
        assert [wire.answer().status_code for _ in range(2)] == [202, 200]


def test_a_body_that_is_asked_for_is_taken(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        body = begin(wire, upload, 0, Expect="100-continue")
        assert wire.answer().status_code == 100
        wire.send(body)
        assert wire.answer().status_code == 200


def test_wrong_bytes_are_refused_and_the_connection_goes_on(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        wire.send(begin(wire, upload, 0, Content_Digest=f"sha-256=:{'A' * 43}=:"))
        assert_problem(wire.answer(), 422, "digest_mismatch")
        wire.send(begin(wire, upload, 0))
        assert wire.answer().status_code == 200


def test_the_bytes_behind_a_refusal_are_no_request(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        wire.head(f"PUT /v1/uploads/{upload['id']}/chunks/9", Content_Length=CHUNK)
        wire.send((LIVEZ * (CHUNK // len(LIVEZ) + 1))[:CHUNK])
        answer = wire.answer()
        assert_problem(answer, 422, "chunk_out_of_range")
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""


def test_a_body_that_breaks_off_leaves_no_receipt_and_no_memory(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        wire.send(begin(wire, upload, 0)[: 2 * MIB])
        until(lambda: memory_of(gateway) > 0)
    until(lambda: memory_of(gateway) == 0)
    assert gateway.look(upload)["received_bytes"] == 0
    assert gateway.put(upload, 0, part(0)).status_code == 200


def test_what_arrived_of_a_stream_that_breaks_off_is_kept_to_the_last_byte(gateway: Gateway) -> None:
    tus = {"Tus-Resumable": "1.0.0"}
    created = gateway.http.post("/tus", headers={**tus, "Upload-Length": str(len(CONTENT))})
    path = created.headers["location"]
    with gateway.wire() as wire:
        kind = "application/offset+octet-stream"
        head: dict[str, str | int] = {
            "Tus_Resumable": "1.0.0",
            "Upload_Offset": 0,
            "Content_Type": kind,
            "Content_Length": len(CONTENT),
        }
        wire.head(f"PATCH {path}", **head)
        wire.send(CONTENT[: 2 * MIB + 77])

    def offset() -> int:
        return int(gateway.http.head(path, headers=tus).headers["upload-offset"])

    until(lambda: offset() == 2 * MIB + 77)


def test_a_body_that_stalls_in_the_middle_is_ended(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.guards._LINGER_SECONDS", 0.3)
    own = open_gateway(BODY_IDLE_TIMEOUT="0.3")
    upload = own.create(len(CONTENT), chunk_size=CHUNK)
    with own.wire() as wire:
        wire.send(begin(wire, upload, 0)[: 2 * MIB])
        answer = wire.answer()
        assert_problem(answer, 408, "body_timeout")
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""
    assert own.put(upload, 0, part(0)).status_code == 200


def test_long_bodies_leave_no_descriptor_open(gateway: Gateway, upload: Json) -> None:
    def sent(index: int, most: int) -> None:
        with gateway.wire() as wire:
            wire.send(begin(wire, upload, index)[:most])
            if most >= CHUNK:
                assert wire.answer().status_code == 200

    sent(0, CHUNK)
    until(lambda: running(gateway) == 0)
    before = psutil.Process().num_fds()
    for most in (CHUNK, MIB, CHUNK, MIB):
        sent(0, most)
    until(lambda: running(gateway) == 0)
    until(lambda: psutil.Process().num_fds() <= before)


def test_a_long_form_is_read_like_any_other(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    with (tmp_path / "a.bin").open("rb") as file:
        answer = gateway.http.post("/v1/files", files={"file": ("a.bin", file)}, data={"description": "x"})
    assert answer.status_code == 202, answer.text
    (one,) = answer.json()["files"]
    assert gateway.ended(one["job_id"])["state"] == "succeeded"


def memory_of(gateway: Gateway) -> int:
    """Bytes of bodies in the gateway."""
    assert gateway.server is not None
    memory = gateway.server._app.state.memory
    return int(memory.held + memory.unread)


def running(gateway: Gateway) -> float:
    """Requests that the gateway is at work on, without the one that asks."""
    return gateway.metric("sluice_http_requests_running") - 1
