"""Two gateways and two workers on PostgreSQL behind nginx, as docker-compose.yml runs them: what a client sees."""

import hashlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from client import Client, UploadOptions, UploadResult
from client.retry import RetryNotice
from tests.fixtures.topology import Topology

CHUNK = 64 * 1024
CHUNKS = 96


@pytest.fixture
def content() -> bytes:
    return os.urandom(CHUNKS * CHUNK - 1)


class Disturbed:
    """An upload by the SDK during which something is done once each of the given parts has been sent."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self.retried: list[RetryNotice] = []

    def upload(self, content: bytes, *events: tuple[float, Any]) -> UploadResult:
        """`events`: (part of the content, what to do); they run one after the other beside the upload."""
        reached = [threading.Event() for _ in events]

        def progress(sent: int, total: int) -> None:
            for (part, _), event in zip(events, reached, strict=True):
                if sent >= part * total:
                    event.set()

        def disturb() -> None:
            for (_, act), event in zip(events, reached, strict=True):
                assert event.wait(60)
                act()

        options = UploadOptions(chunk_size=CHUNK, progress=progress, on_retry=self.retried.append)
        with ThreadPoolExecutor(1) as pool, Client(self._topology.proxy.url) as client:
            disturbing = pool.submit(disturb)
            result = client.upload_bytes(content, "disturbed.bin", options)
            disturbing.result()
        return result


def read(topology: Topology, file_id: str | None) -> bytes:
    return httpx.get(f"{topology.proxy.url}/v1/files/{file_id}/content", trust_env=False, timeout=30).content


def test_an_upload_whose_chunks_go_through_the_proxy_finishes(
    behind_nginx: Topology, uploader: Any, content: bytes
) -> None:
    client = uploader(behind_nginx.proxy.url)
    upload = client.create(len(content), CHUNK)

    client.send(upload, content, parallel=6)
    ended = client.ended(client.finalize(upload)["id"], 20)

    assert ended["state"] == "succeeded", ended
    assert client.sha256(ended["file_id"]) == hashlib.sha256(content).hexdigest()
    assert all(gateway.metric("sluice_received_bytes_total") > 0 for gateway in behind_nginx.gateways)


def test_a_gateway_that_is_killed_in_the_middle_is_no_error_for_the_client(
    behind_nginx: Topology, content: bytes
) -> None:
    victim = behind_nginx.gateways[0]
    disturbed = Disturbed(behind_nginx)
    try:
        result = disturbed.upload(content, (0.2, lambda: victim.end(signal.SIGKILL)))
    finally:
        victim.start()
        victim.await_ready()

    assert read(behind_nginx, result.file_id) == content


def test_a_rolling_restart_of_the_gateways_is_no_error_for_the_client(behind_nginx: Topology, content: bytes) -> None:
    def restart(number: int) -> None:
        gateway = behind_nginx.gateways[number]
        assert gateway.end() == 0
        gateway.start()
        gateway.await_ready()

    result = Disturbed(behind_nginx).upload(content, (0.1, lambda: restart(0)), (0.1, lambda: restart(1)))

    assert read(behind_nginx, result.file_id) == content


def test_many_finalizes_at_once_make_one_job(behind_nginx: Topology, uploader: Any) -> None:
    client = uploader(behind_nginx.proxy.url)
    upload = client.create(4000, 4000)
    client.send(upload, bytes(4000))

    def finalize(_: int) -> str:
        url = f"{behind_nginx.proxy.url}/v1/uploads/{upload['id']}/finalize"
        return str(httpx.post(url, trust_env=False, timeout=30).json()["id"])

    with ThreadPoolExecutor(8) as pool:
        jobs = set(pool.map(finalize, range(8)))

    assert len(jobs) == 1
    assert client.ended(jobs.pop(), 20)["state"] == "succeeded"
