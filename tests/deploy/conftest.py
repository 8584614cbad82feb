"""What the tests of the image, of compose and of the proxy look at."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.topology import Topology

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the repository."""
    return ROOT


@pytest.fixture
def client(behind_nginx: Topology) -> Iterator[httpx.Client]:
    """Speaks to the proxy."""
    with httpx.Client(base_url=behind_nginx.proxy.url, trust_env=False, timeout=60) as opened:
        yield opened


@pytest.fixture
def upload(client: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Creates uploads."""

    def create(size: int, chunk_size: int | None = None) -> dict[str, Any]:
        body = {"filename": "proxied.bin", "size": size, "chunk_size": chunk_size or size}
        answer = client.post("/v1/uploads", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return create


@pytest.fixture
def ready_file(client: httpx.Client) -> Callable[[bytes], str]:
    """Uploads content in one request; the id of the file once it is ready."""

    def make(content: bytes) -> str:
        accepted = client.post("/v1/files", params={"filename": "proxied.bin"}, content=content)
        assert accepted.status_code == 202, accepted.text
        job = client.get(accepted.headers["location"], params={"wait": 20}).json()
        assert job["state"] == "succeeded", job
        return str(job["file_id"])

    return make
