"""Any replica may take any request of any upload (I6): on SQLite, on PostgreSQL, and with the bytes in an S3 store."""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.servers import running

GATEWAYS = 3
WORKERS = 2
CHUNK = 64 * 1024


@pytest.fixture(params=["sqlite-local", "postgresql-local", "postgresql-s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Settings of the places that the processes share."""
    database, storage = request.param.split("-")
    own = f"sqlite:///{tmp_path / 'sluice.db'}"
    settings = {"SLUICE_DATABASE_URL": own if database == "sqlite" else request.getfixturevalue("postgres_url")}
    if storage == "local":
        return settings | {"SLUICE_STORAGE_URL": f"file://{tmp_path / 'storage'}"}
    s3: dict[str, str] = request.getfixturevalue("s3_settings")
    return settings | s3


@pytest.fixture
def urls(place: dict[str, str], redis_url: str, tmp_path: Path) -> Iterator[list[str]]:
    """Three gateways on ports of their own and two workers, started one by one as an operator would."""
    env = {**os.environ, **place, "SLUICE_REDIS_URL": redis_url, "SLUICE_HEALTH_PORT": "0"}
    subprocess.run([sys.executable, "-m", "cli.main", "migrate"], env=env, check=True, capture_output=True)
    with ExitStack() as parts:
        for number in range(WORKERS):
            command = [sys.executable, "-m", "worker"]
            parts.enter_context(running(command, tmp_path / f"worker-{number}.log", lambda: True, env=env))
        found = []
        for number in range(GATEWAYS):
            port = _free_port()
            url = f"http://127.0.0.1:{port}"
            command = [sys.executable, "-m", "gateway", "--port", str(port)]
            log = tmp_path / f"gateway-{number}.log"
            parts.enter_context(running(command, log, partial(_is_ready, url), env=env))
            found.append(url)
        yield found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_an_upload_whose_chunks_alternate_between_three_gateways_finishes(urls: list[str], uploader: Any) -> None:
    content = os.urandom(20 * CHUNK + 123)
    client = uploader(*urls)
    upload = client.create(len(content), CHUNK)

    client.send(upload, content, parallel=6)
    job = client.finalize(upload)
    ended = client.ended(job["id"], 20)

    assert ended["state"] == "succeeded", ended
    assert client.sha256(ended["file_id"]) == hashlib.sha256(content).hexdigest()


def test_eight_finalizes_over_three_gateways_make_one_job_and_one_file(urls: list[str], uploader: Any) -> None:
    content = b"once" * 1000
    client = uploader(*urls)
    upload = client.create(len(content), CHUNK)
    client.send(upload, content)

    def finalize(number: int) -> str:
        answer = httpx.post(
            f"{urls[number % GATEWAYS]}/v1/uploads/{upload['id']}/finalize", trust_env=False, timeout=30
        )
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        jobs = set(pool.map(finalize, range(8)))
    client.ended(jobs.copy().pop(), 20)
    files = client.clients[0].get("/v1/files").json()["items"]

    assert len(jobs) == 1
    assert [file["upload_id"] for file in files] == [upload["id"]]
