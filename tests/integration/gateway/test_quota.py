"""What is promised to open uploads counts when another one is created, on a real small volume."""

import time
from pathlib import Path

import httpx

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.processes import part
from tests.integration.gateway.rig import Gateway, assert_problem, until
from tests.integration.gateway.test_faults import small_disk
from tests.integration.gateway.tus.client import BODY_TYPE, Tus

__all__ = ["small_disk"]

MB = 1_000_000  # the volume has 8 MiB


def ask(gateway: Gateway, size: int) -> httpx.Response:
    return gateway.http.post("/v1/uploads", json={"filename": "a.bin", "size": size, "chunk_size": MB})


def test_of_two_uploads_that_each_fit_but_not_both_the_second_is_507(
    small_disk: Path, open_gateway: OpenGateway
) -> None:
    own = open_gateway()
    assert ask(own, 5 * MB).status_code == 201
    problem = assert_problem(ask(own, 5 * MB), 507, "insufficient_storage")
    assert problem["needed_bytes"] == 5 * MB
    assert list(own.states().values()) == ["open"]


def test_two_gateways_know_of_each_others_promises(small_disk: Path, open_gateway: OpenGateway) -> None:
    one, other = open_gateway(), open_gateway()
    assert ask(one, 5 * MB).status_code == 201
    assert_problem(ask(other, 5 * MB), 507, "insufficient_storage")


def test_room_comes_back_after_an_abort(small_disk: Path, open_gateway: OpenGateway) -> None:
    own = open_gateway()
    upload = ask(own, 5 * MB).json()
    assert own.http.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    assert ask(own, 5 * MB).status_code == 201


def test_room_comes_back_after_expiry(small_disk: Path, open_gateway: OpenGateway) -> None:
    own = open_gateway(UPLOAD_TTL="1", SWEEP_SECONDS="0.2")
    assert ask(own, 5 * MB).status_code == 201
    with part("worker", environment=own.environment, log=own.folder / "worker.log"):
        until(lambda: set(own.states().values()) == {"expired"})
        until(lambda: own.folders() == set())
    assert ask(own, 5 * MB).status_code == 201


def test_bytes_that_arrived_are_not_counted_twice(small_disk: Path, open_gateway: OpenGateway) -> None:
    own = open_gateway()
    upload = ask(own, 5 * MB).json()
    assert [own.put(upload, index, bytes(MB)).status_code for index in range(5)] == [200] * 5
    assert ask(own, 3 * MB).status_code == 201


def test_a_size_that_is_told_later_is_promised_room_too(small_disk: Path, open_gateway: OpenGateway) -> None:
    own = open_gateway()
    tus = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}

    def declared(size: int) -> httpx.Response:
        made = own.http.post("/tus", headers={"Tus-Resumable": "1.0.0", "Upload-Defer-Length": "1"})
        fields = {**tus, "Upload-Offset": "0", "Upload-Length": str(size)}
        return own.http.patch(made.headers["location"], headers=fields, content=b"x")

    assert_problem(declared(50 * MB), 507, "insufficient_storage")
    assert declared(5 * MB).status_code == 204
    assert_problem(ask(own, 5 * MB), 507, "insufficient_storage")
    assert_problem(declared(5 * MB), 507, "insufficient_storage")
    assert ask(own, 2 * MB).status_code == 201


def test_a_stream_grows_into_no_room_that_was_promised_to_others(small_disk: Path, open_gateway: OpenGateway) -> None:
    own = open_gateway()
    promised = ask(own, 5 * MB).json()
    client = Tus(own.http)
    stream = client.new(Upload_Defer_Length="1")
    assert client.patch(stream, 0, bytes(2 * MB)).status_code == 204
    assert_problem(client.patch(stream, 2 * MB, bytes(2 * MB)), 507, "insufficient_storage")
    assert client.offset(stream) == 2 * MB
    assert [own.put(promised, index, bytes(MB)).status_code for index in range(5)] == [200] * 5


def test_a_stream_without_a_size_becomes_no_larger_than_a_file_may_be(open_gateway: OpenGateway) -> None:
    own = open_gateway(MAX_FILE_SIZE="1MiB")
    client = Tus(own.http)
    stream = client.new(Upload_Defer_Length="1")
    assert client.patch(stream, 0, bytes(MB)).status_code == 204
    refused = client.patch(stream, MB, bytes(MB))
    assert_problem(refused, 413, "file_too_large")
    assert client.offset(stream) == MB
    chunked = own.http.patch(
        stream,
        content=iter([bytes(MB)]),  # its length is not said
        headers={**client.usual, "Content-Type": BODY_TYPE, "Upload-Offset": str(MB)},
    )
    assert_problem(chunked, 413, "file_too_large")
    assert client.offset(stream) == 1024**2


def test_a_published_file_is_counted_once(small_disk: Path, open_gateway: OpenGateway) -> None:
    own = open_gateway()
    with part("worker", environment=own.environment, log=own.folder / "worker.log"):
        own.publish(bytes(5 * MB), chunk_size=MB)
    assert ask(own, 3 * MB).status_code == 201
    assert_problem(ask(own, MB), 507, "insufficient_storage")


def test_refusing_is_quick_however_many_uploads_are_open(small_disk: Path, open_gateway: OpenGateway) -> None:
    own = open_gateway()
    for _ in range(100):
        assert ask(own, 10_000).status_code == 201
    began = time.monotonic()
    for _ in range(10):
        assert_problem(ask(own, 8 * MB), 507, "insufficient_storage")
    assert time.monotonic() - began < 5
