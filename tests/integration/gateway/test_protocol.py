"""The parser's edges: offered upgrades, long heads, trailers, pipelining, idle and unread connections."""

import hashlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from gateway.intake import READ_LEAST, READ_MOST, IntakeMemory
from gateway.protocol import MOST_UNREAD
from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway, Json, assert_problem, until
from tests.integration.gateway.wire import Wire

TEN = b"0123456789"
MIB = 1024**2


@pytest.fixture
def upload(gateway: Gateway) -> Json:
    """One chunk of ten bytes, not sent."""
    return gateway.create(10)


def put(upload: Json) -> str:
    return f"PUT /v1/uploads/{upload['id']}/chunks/0"


# --- Upgrade (RFC 9110 section 7.8: a server may ignore it) -------------------------------------------------


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0", "foo"])
def test_a_request_that_offers_an_upgrade_keeps_its_body(gateway: Gateway, upload: Json, protocol: str) -> None:
    with gateway.wire() as wire:
        wire.head(put(upload), Connection="Upgrade", Upgrade=protocol, Content_Length=10)
        wire.send(TEN)
        assert wire.answer().status_code == 200
    file = gateway.finish(upload)
    assert file["digests"]["sha-256"] == hashlib.sha256(TEN).hexdigest()


def test_a_chunked_body_survives_an_offered_upgrade_in_one_packet(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        head = f"{put(upload)} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
        wire.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")
        assert wire.answer().status_code == 200
        wire.head("GET /livez")  # and the connection goes on
        assert wire.answer().status_code == 200


def test_the_body_of_a_request_with_an_upgrade_is_never_run_as_a_request(gateway: Gateway, upload: Json) -> None:
    victim = gateway.create(10)
    smuggled = f"DELETE /v1/uploads/{victim['id']} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with gateway.wire() as wire:
        wire.head("POST /v1/files?filename=a", Connection="Upgrade", Upgrade="h2c", Content_Length=len(smuggled))
        wire.send(smuggled)
        assert wire.answer().status_code == 202
    assert gateway.look(victim)["state"] == "open"


def test_a_request_without_a_body_may_offer_an_upgrade(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        for _ in range(2):
            wire.head("GET /livez", Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAMAAABk")
            assert wire.answer().status_code == 200


# --- heads and trailers -------------------------------------------------------------------------------------


def _flood(wire: Wire, piece: bytes, most: int) -> int:
    """Send until the other side closes; how many bytes that took."""
    sent = 0
    while sent < most:
        try:
            wire.send(piece)
        except OSError:
            return sent
        sent += len(piece)
    return sent


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        pytest.param(b"GET /livez HTTP/1.1\r\n", b"x: " + b"y" * 1000 + b"\r\n", id="fields"),
        pytest.param(b"GET /livez HTTP/1.1\r\nx: ", b"y" * 65536, id="value"),
        pytest.param(b"GET /livez HTTP/1.1\r\n", b"y" * 65536, id="name"),
        pytest.param(b"GET /", b"y" * 65536, id="address"),
        pytest.param(
            b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: ",
            b"y" * 65536,
            id="trailer",
        ),
    ],
)
def test_a_head_without_end_is_cut(gateway: Gateway, start: bytes, piece: bytes) -> None:
    before = psutil.Process().memory_info().rss
    with gateway.wire() as wire:
        wire.send(start)
        sent = _flood(wire, piece, 64 * MIB)
    assert sent < 32 * MIB  # what fits into the buffers of both sockets, and some more
    assert psutil.Process().memory_info().rss - before < 24 * MIB


def test_a_head_that_is_too_long_is_told_so(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.head("GET /livez", X_Long="y" * 70_000)
        assert_problem(wire.answer(), 431, "headers_too_large")
        assert wire.rest() == b""


def test_too_many_fields_are_refused(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.head("GET /livez", **{f"X-{number}": "y" for number in range(200)})
        assert_problem(wire.answer(), 431, "headers_too_large")


def test_trailers_do_not_become_fields_of_the_request(gateway: Gateway) -> None:
    body = b'{"filename": "a", "size": 1}'
    message = b"%x\r\n%s\r\n0\r\nIdempotency-Key: via-trailer\r\nX-Request-Id: via-trailer\r\n\r\n" % (len(body), body)
    ids = set()
    for _ in range(2):
        with gateway.wire() as wire:
            head = "POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            wire.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + message)
            answer = wire.answer()
            assert answer.status_code == 201
            assert answer.headers["x-request-id"] != "via-trailer"
            ids.add(answer.json()["id"])
    assert len(ids) == 2


# --- connections --------------------------------------------------------------------------------------------


def test_a_body_with_a_transfer_coding_of_its_own_is_refused(gateway: Gateway, upload: Json) -> None:
    with gateway.wire() as wire:
        wire.head(put(upload), Transfer_Encoding="gzip, chunked", Expect="100-continue")
        assert_problem(wire.answer(), 415, "coding_not_allowed")


def test_a_few_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/limits HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        answers = [wire.answer().json() for _ in range(4)]
    assert ["status" in answer for answer in answers] == [True, False, True, False]


def test_pipelining_without_bound_ends_the_connection(gateway: Gateway) -> None:
    with gateway.wire() as wire:
        wire.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        answers = wire.rest()
    assert answers.count(b"HTTP/1.1 200") < 100


def test_a_stray_line_end_does_not_keep_a_connection_open(open_gateway: OpenGateway) -> None:
    gateway = open_gateway(header_timeout="0.3")
    with gateway.wire() as wire:
        wire.head("GET /livez")
        assert wire.answer().status_code == 200
        wire.send(b"\r\n")
        began = time.monotonic()
        wire.rest()
    assert time.monotonic() - began < 5


def test_a_client_that_does_not_read_is_cut(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.protocol.WRITE_SECONDS", 0.3)
    file = gateway.publish(bytes(32 * MIB))
    wire = Wire.__new__(Wire)
    wire.socket = socket.socket()
    wire._buffer = b""
    with wire.socket:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.socket.settimeout(10)
        wire.socket.connect(("127.0.0.1", gateway.http.base_url.port or 0))
        wire.head(f"GET /v1/files/{file['id']}/content")
        deadline = time.monotonic() + 10
        while _is_connected(wire.socket):
            assert time.monotonic() < deadline, "the gateway keeps a connection that nobody reads"
            time.sleep(0.05)


def _is_connected(connection: socket.socket) -> bool:
    """Whether the peer still has the connection: an aborted one answers a write with a reset."""
    try:
        connection.send(b"\r\n")
    except OSError:
        return False
    return True


# --- bytes that nobody has read yet -------------------------------------------------------------------------


@pytest.fixture
def memory(own_gateway: Gateway) -> IntakeMemory:
    assert own_gateway.server is not None
    memory: IntakeMemory = own_gateway.server._app.state.memory
    return memory


@pytest.fixture
def waiting(own_gateway: Gateway, memory: IntakeMemory) -> Iterator[Wire]:
    """A connection with a request whose body of 4 MiB is not read yet: another one is sending the same chunk."""
    path = f"PUT /v1/uploads/{own_gateway.create(4 * MIB)['id']}/chunks/0"
    with own_gateway.wire() as first, own_gateway.wire() as second:
        first.head(path, Content_Length=4 * MIB)
        first.send(TEN)
        until(lambda: (memory.held, memory.unread) == (10, 0))
        second.head(path, Content_Length=4 * MIB)
        yield second


def test_unread_bytes_are_counted_until_their_client_goes_away(memory: IntakeMemory, waiting: Wire) -> None:
    waiting.send(TEN)
    until(lambda: memory.unread == 10)
    waiting.socket.close()
    until(lambda: memory.unread == 0)


def test_a_body_that_nobody_reads_is_left_in_the_socket(memory: IntakeMemory, waiting: Wire) -> None:
    waiting.send(bytes(2 * MIB))
    until(lambda: memory.unread > MOST_UNREAD)
    assert memory.unread <= READ_MOST


def test_less_is_taken_from_a_socket_while_memory_is_short(memory: IntakeMemory, waiting: Wire) -> None:
    memory.held += 32 * MIB
    waiting.send(bytes(2 * MIB))
    until(lambda: memory.unread > READ_LEAST // 2)
    assert memory.unread <= 2 * READ_LEAST
    memory.held -= 32 * MIB


@pytest.mark.parametrize("ending", ["answered", "cut"])
def test_nothing_stays_counted_when_all_is_over(own_gateway: Gateway, memory: IntakeMemory, ending: str) -> None:
    uploads = [own_gateway.create(MIB) for _ in range(8)]
    with ExitStack() as opened:
        wires = [opened.enter_context(own_gateway.wire()) for _ in uploads]
        for wire, upload in zip(wires, uploads, strict=True):
            wire.head(put(upload), Content_Length=MIB)
            wire.send(bytes(MIB if ending == "answered" else MIB - 1))
        if ending == "answered":
            assert {wire.answer().status_code for wire in wires} == {200}
    until(lambda: (memory.held, memory.unread) == (0, 0))


def test_a_body_in_single_bytes_arrives(own_gateway: Gateway) -> None:
    upload = own_gateway.create(MOST_UNREAD)
    with own_gateway.wire() as wire:
        wire.head(put(upload), Transfer_Encoding="chunked")
        wire.send(b"1\r\nx\r\n" * MOST_UNREAD + b"0\r\n\r\n")
        assert wire.answer().status_code == 200
