"""Black box: these tests speak HTTP and signals only, and import nothing of the service."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.postgres import empty_database
from tests.fixtures.s3 import S3Server, new_bucket
from tests.fixtures.stack import RunningStack, StartStack, stacks

FINAL = {"succeeded", "failed", "cancelled"}


@dataclass
class Uploader:
    """Uploads over one or several base URLs, chunk by chunk in turn, as a client behind a round-robin proxy would."""

    clients: list[httpx.Client]

    def create(self, content_size: int, chunk_size: int, filename: str = "big.bin") -> dict[str, Any]:
        body = {"filename": filename, "size": content_size, "chunk_size": chunk_size}
        answer = self.clients[0].post("/v1/uploads", json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def send(self, upload: dict[str, Any], content: bytes, parallel: int = 4) -> None:
        """All chunks, alternating between the gateways."""
        size = upload["chunk_size"]
        pieces = [content[start : start + size] for start in range(0, len(content), size)]

        def put(job: tuple[int, bytes, httpx.Client]) -> None:
            index, piece, client = job
            answer = client.put(f"/v1/uploads/{upload['id']}/chunks/{index}", content=piece)
            assert answer.status_code == 200, answer.text

        with ThreadPoolExecutor(parallel) as pool:
            turns = zip(range(len(pieces)), pieces, cycle(self.clients), strict=False)
            list(pool.map(put, turns))

    def finalize(self, upload: dict[str, Any]) -> dict[str, Any]:
        answer = self.clients[-1].post(f"/v1/uploads/{upload['id']}/finalize")
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def job(self, job_id: str, wait: float = 0) -> dict[str, Any]:
        answer = self.clients[0].get(f"/v1/jobs/{job_id}", params={"wait": wait}, timeout=wait + 10)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ended(self, job_id: str, within: float) -> dict[str, Any]:
        """The job at its end; fails when it has not ended `within` seconds."""
        job = self.job(job_id, wait=within)
        assert job["state"] in FINAL, f"after {within} s still {job}"
        return job

    def sha256(self, file_id: str) -> str:
        """Of the bytes as any reader gets them."""
        digest = hashlib.sha256()
        with self.clients[0].stream("GET", f"/v1/files/{file_id}/content") as answer:
            assert answer.status_code == 200
            for piece in answer.iter_bytes():
                digest.update(piece)
        return digest.hexdigest()


@contextmanager
def _place(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Where this run of the suite keeps rows and bytes: E2E_DATABASE=postgresql and E2E_STORAGE=s3 in place of the
    embedded ones (`make test-e2e`)."""
    settings: dict[str, str] = {}
    if os.environ.get("E2E_STORAGE") == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        settings |= {"SLUICE_STORAGE_URL": f"s3://{new_bucket(server)}", **server.settings}
    with ExitStack() as opened:
        if os.environ.get("E2E_DATABASE") == "postgresql":
            url = opened.enter_context(empty_database(request.getfixturevalue("postgres_server")))
            settings["SLUICE_DATABASE_URL"] = url
        yield settings


@contextmanager
def _stacks(request: pytest.FixtureRequest, folder: Path) -> Iterator[StartStack]:
    """Starts stacks in this run's place, with at least E2E_GATEWAYS and E2E_WORKERS processes."""
    least = [int(os.environ.get(name, "1")) for name in ("E2E_GATEWAYS", "E2E_WORKERS")]
    with _place(request) as place, stacks(folder) as start_stack:

        def start(gateways: int = 1, workers: int = 1, **settings: str) -> RunningStack:
            return start_stack(max(gateways, least[0]), max(workers, least[1]), **{**place, **settings})

        yield start


@pytest.fixture
def start_stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartStack]:
    """A service of the test's own."""
    with _stacks(request, tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared_stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A service for all tests of a file: two gateways and a worker. Who ends or stops a part waits until it is back."""
    with _stacks(request, tmp_path_factory.mktemp("shared")) as start:
        yield start(gateways=2)


@pytest.fixture
def uploader() -> Iterator[Any]:
    """Make an Uploader for base URLs; its connections are closed after the test."""
    opened: list[httpx.Client] = []

    def make(*urls: str) -> Uploader:
        clients = [httpx.Client(base_url=url, timeout=30, trust_env=False) for url in urls]
        opened.extend(clients)
        return Uploader(clients)

    yield make
    for client in opened:
        client.close()
