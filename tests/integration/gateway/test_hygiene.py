"""HTTP itself: half, slow, contradictory and refused requests, and a connection that stays usable."""

import time

import pytest

from common.chunking import MIB
from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway, Json, assert_problem, until
from tests.integration.gateway.wire import Wire


@pytest.fixture
def upload(gateway: Gateway) -> Json:
    """One chunk of ten bytes, not sent."""
    return gateway.create(10)


def chunk(upload: Json, index: int = 0) -> str:
    return f"PUT /v1/uploads/{upload['id']}/chunks/{index}"


def send_until_closed(wire: Wire, most: int) -> int:
    """Send zeros in chunked encoding until the other side closes; how many bytes that took."""
    for sent in range(0, most, MIB):
        try:
            wire.send(b"100000\r\n" + bytes(MIB) + b"\r\n")
        except OSError:  # reset or broken pipe
            return sent
    return most


# --- request ids --------------------------------------------------------------------------------------------


def test_the_clients_request_id_is_kept(gateway: Gateway) -> None:
    answer = gateway.http.get("/v1/uploads/x", headers={"X-Request-Id": "my-id.1_2"})
    assert assert_problem(answer, 404, "upload_not_found")["request_id"] == "my-id.1_2"


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", 'a"b', "ä", "a\tb"])
def test_a_request_id_that_could_do_harm_is_replaced(gateway: Gateway, given: str) -> None:
    answer = gateway.http.get("/livez", headers=[(b"X-Request-Id", given.encode())])
    assert len(answer.headers["x-request-id"]) == 36


def test_the_request_id_goes_with_the_job(gateway: Gateway) -> None:
    upload = gateway.send(b"x")
    job = gateway.http.post(f"/v1/uploads/{upload['id']}/finalize", headers={"X-Request-Id": "follow-me"}).json()
    assert gateway.sql("SELECT request_id FROM jobs WHERE id = ?", job["id"]) == [("follow-me",)]


# --- routes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/uploads/", "/v2/uploads"])
def test_an_unknown_address_is_a_problem_document(gateway: Gateway, path: str) -> None:
    assert_problem(gateway.http.get(path), 404, "not_found")


def test_an_unknown_method_is_a_problem_document_and_says_what_is_allowed(gateway: Gateway) -> None:
    answer = gateway.http.put("/v1/limits")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/livez%0A", "/v1/limits%0A", "/v1/uploads/x%0D%0A"])
def test_a_line_break_at_the_end_of_an_address_is_not_overlooked(gateway: Gateway, path: str) -> None:
    assert_problem(gateway.http.get(path), 404, "not_found")


# --- Expect: 100-continue -----------------------------------------------------------------------------------


def test_a_chunk_that_is_welcome_is_asked_for(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        wire.head(chunk(upload), Content_Length=10, Expect="100-continue")
        assert wire.answer().status_code == 100
        wire.send(b"0123456789")
        assert wire.answer().status_code == 200


@pytest.mark.parametrize(("index", "length"), [(0, 11), (0, 9), (1, 10)])
def test_a_chunk_that_cannot_be_right_is_refused_without_its_body(
    gateway: Gateway, upload: Json, index: int, length: int
) -> None:
    with gateway.wire() as wire:
        wire.head(chunk(upload, index), Content_Length=length, Expect="100-continue")
        answer = wire.answer()
        assert_problem(answer, 422, "chunk_out_of_range" if index else "chunk_length")
        assert answer.headers["connection"] == "close"


def test_a_chunk_of_an_upload_that_is_not_open_is_refused_without_its_body(gateway: Gateway, upload: Json) -> None:
    gateway.http.delete(f"/v1/uploads/{upload['id']}")
    with gateway.wire() as wire:
        wire.head(chunk(upload), Content_Length=10, Expect="100-continue")
        assert_problem(wire.answer(), 409, "upload_not_open")


@pytest.mark.parametrize("coding", ["gzip", "br, identity"])
def test_a_coded_body_is_refused_before_it_is_sent(gateway: Gateway, upload: Json, coding: str) -> None:
    with gateway.wire() as wire:
        wire.head(chunk(upload), Content_Length=10, Content_Encoding=coding, Expect="100-continue")
        assert_problem(wire.answer(), 415, "coding_not_allowed")


# --- refused while sending ----------------------------------------------------------------------------------


def test_a_client_that_sends_on_can_read_the_early_refusal(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        wire.head(chunk(upload, 7), Content_Length=5 * MIB)
        wire.send(bytes(5 * MIB))
        answer = wire.answer()
        assert_problem(answer, 422, "chunk_out_of_range")
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""


def test_a_body_past_the_limit_is_cut_soon_after_it(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        wire.head(chunk(upload), Transfer_Encoding="chunked")
        sent = send_until_closed(wire, 512 * MIB)
    assert sent < 64 * MIB  # what two socket buffers hold and the 64 KiB that are read past the limit
    assert gateway.look(upload)["received_bytes"] == 0


def test_a_connection_stays_open_after_chunks_and_after_refusals_that_read_the_body(gateway: Gateway) -> None:
    upload = gateway.create(20, chunk_size=10)
    with gateway.wire() as wire:
        for index, body, status in ((0, b"0123456789", 200), (0, b"x" * 10, 409), (1, b"0123456789", 200)):
            wire.head(chunk(upload, index), Content_Length=10)
            wire.send(body)
            answer = wire.answer()
            assert (answer.status_code, answer.headers.get("connection")) == (status, None)
        wire.head("GET /livez")
        assert wire.answer().status_code == 200


# --- slow ---------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """A gateway that waits 0.3 s for bytes, for heads, and for a refused client to stop sending."""
    monkeypatch.setattr("gateway.guards._LINGER_SECONDS", 0.3)
    return open_gateway(BODY_IDLE_TIMEOUT="0.3", HEADER_TIMEOUT="0.3")


@pytest.mark.parametrize("sent", [b"", b"01234"])
def test_a_body_that_stalls_is_ended_and_can_be_sent_again(impatient: Gateway, sent: bytes) -> None:
    upload = impatient.create(10)
    with impatient.wire() as wire:
        wire.head(chunk(upload), Content_Length=10)
        wire.send(sent)
        answer = wire.answer()
        assert_problem(answer, 408, "body_timeout")
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""
    assert impatient.look(upload)["received_bytes"] == 0
    assert impatient.put(upload, 0, b"0123456789").status_code == 200


def test_a_json_body_that_stalls_is_ended(impatient: Gateway) -> None:
    with impatient.wire() as wire:
        wire.head("POST /v1/uploads", Content_Type="application/json", Content_Length=100)
        wire.send(b'{"filename":')
        assert_problem(wire.answer(), 408, "body_timeout")
    assert impatient.states() == {}


def test_a_raw_file_that_stalls_leaves_nothing(impatient: Gateway) -> None:
    with impatient.wire() as wire:
        wire.head("POST /v1/files?filename=a", Content_Length=100)
        wire.send(b"x" * 50)
        assert_problem(wire.answer(), 408, "body_timeout")
    assert impatient.folders() == set()


def test_a_body_below_the_minimum_rate_is_ended(open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.deadlines.RATE_WINDOW", 0.3)
    own = open_gateway(BODY_MIN_RATE="1000")
    upload = own.create(1000)
    with own.wire() as wire:
        wire.head(chunk(upload), Content_Length=1000)
        began = time.monotonic()
        for _ in range(40):  # about 500 bytes a second: never idle, always too slow
            wire.send(b"x" * 5)
            time.sleep(0.01)
        assert_problem(wire.answer(), 408, "body_timeout")
        assert time.monotonic() - began < 5
    assert own.put(upload, 0, b"x" * 1000).status_code == 200


def test_a_body_above_the_minimum_rate_may_take_its_time(
    open_gateway: OpenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.deadlines.RATE_WINDOW", 0.1)
    own = open_gateway(BODY_MIN_RATE="10")
    upload = own.create(40)
    with own.wire() as wire:
        wire.head(chunk(upload), Content_Length=40)
        for _ in range(20):
            wire.send(b"xx")
            time.sleep(0.02)
        assert wire.answer().status_code == 200


@pytest.mark.parametrize("half", [b"", b"GET /livez HTT", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_ended(impatient: Gateway, half: bytes) -> None:
    with impatient.wire() as wire:
        wire.send(half)
        answer = wire.answer()
        assert_problem(answer, 408, "header_timeout")
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""


def test_a_second_head_that_does_not_come_is_ended(impatient: Gateway) -> None:
    with impatient.wire() as wire:
        wire.head("GET /livez")
        assert wire.answer().status_code == 200
        wire.send(b"GET /livez HTTP/1.1\r\n")
        assert_problem(wire.answer(), 408, "header_timeout")


def test_a_half_head_behind_a_request_does_not_disturb_its_answer(impatient: Gateway) -> None:
    job = impatient.finalize(impatient.send(b"x")).json()
    with impatient.wire() as wire:
        wire.head(f"GET /v1/jobs/{job['id']}?wait=1")
        wire.send(b"GET /livez HTTP/1.1\r\n")
        assert wire.answer().json()["id"] == job["id"]
        assert_problem(wire.answer(), 408, "header_timeout")


def test_an_idle_connection_and_a_long_poll_are_no_slow_requests(impatient: Gateway) -> None:
    job = impatient.finalize(impatient.send(b"x")).json()
    with impatient.wire() as wire:
        wire.head(f"GET /v1/jobs/{job['id']}?wait=0.6")
        assert wire.answer().status_code == 200
        time.sleep(0.5)
        wire.head("GET /livez")
        assert wire.answer().status_code == 200


# --- contradictory and malformed ----------------------------------------------------------------------------


def test_two_lengths_are_refused_and_the_tail_is_no_second_request(gateway: Gateway) -> None:
    victim = gateway.create(10)
    smuggled = f"DELETE /v1/uploads/{victim['id']} HTTP/1.1\r\nHost: test\r\n\r\n"
    with gateway.wire() as wire:
        wire.head("POST /v1/uploads", Content_Type="application/json", Content_Length=5, Transfer_Encoding="chunked")
        wire.send(b"0\r\n\r\n" + smuggled.encode())
        answer = wire.answer()
        assert_problem(answer, 400, "malformed_request")
        assert answer.headers["connection"] == "close"
        assert wire.rest() == b""
    assert gateway.look(victim)["state"] == "open"


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"PUT /v1/uploads/x/chunks/0 HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PUT /v1/uploads/x/chunks/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PUT /v1/uploads/x/chunks/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_is_no_http_is_a_problem_document(gateway: Gateway, head: bytes) -> None:
    with gateway.wire() as wire:
        wire.send(head)
        assert_problem(wire.answer(), 400, "malformed_request")
        assert wire.rest() == b""


def test_a_broken_chunked_encoding_leaves_no_receipt(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        wire.head(chunk(upload), Transfer_Encoding="chunked")
        wire.send(b"5\r\n01234\r\nnonsense\r\n")
        assert_problem(wire.answer(), 400, "malformed_request")
        assert wire.rest() == b""
    assert gateway.look(upload)["received_bytes"] == 0
    assert gateway.put(upload, 0, b"0123456789").status_code == 200


# --- too many -----------------------------------------------------------------------------------------------


def test_more_requests_than_allowed_are_503(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_REQUESTS="1")
    upload = own.create(10)
    with own.wire() as wire:
        wire.head(chunk(upload), Content_Length=10, Expect="100-continue")
        assert wire.answer().status_code == 100
        answer = own.http.get("/v1/limits")
        assert_problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
        assert own.http.get("/livez").status_code == 200


def test_a_poll_that_waits_takes_no_place(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_REQUESTS="1")
    job = own.finalize(own.send(b"x")).json()
    with own.wire() as wire:
        wire.head(f"GET /v1/jobs/{job['id']}?wait=20")
        # it gives its place back when it is held, which is a moment after it was registered
        until(lambda: own.waiting_polls() == 1 and own.http.get("/v1/limits").status_code == 200)


# --- bugs ---------------------------------------------------------------------------------------------------


def test_a_bug_is_500_without_its_inside(own_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("gateway.service.uploads.check_name", broken)
    answer = own_gateway.http.post("/v1/uploads", json={"filename": "a", "size": 1})
    assert "secret" not in str(assert_problem(answer, 500, "internal_error"))
    assert own_gateway.http.get("/livez").status_code == 200
