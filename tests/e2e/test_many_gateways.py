"""Any replica may take any request of any upload (I6): on SQLite, on PostgreSQL, and with the bytes in an S3 store."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
import pytest

from tests.fixtures.network import unused_port
from tests.fixtures.postgres import empty_database
from tests.fixtures.s3 import S3Server, new_bucket
from tests.fixtures.servers import running

GATEWAYS = 3
WORKERS = 2
CHUNK = 64 * 1024


@pytest.fixture(scope="module", params=["sqlite-local", "postgresql-local", "postgresql-s3"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings of the places that the processes share."""
    database, storage = request.param.split("-")
    folder = tmp_path_factory.mktemp(storage)
    settings = {"SLUICE_STORAGE_URL": f"file://{folder / 'storage'}"}
    if storage == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        settings = {"SLUICE_STORAGE_URL": f"s3://{new_bucket(server)}", **server.settings}
    if database == "sqlite":
        yield settings | {"SLUICE_DATABASE_URL": f"sqlite:///{folder / 'sluice.db'}"}
        return
    with empty_database(request.getfixturevalue("postgres_server")) as url:
        yield settings | {"SLUICE_DATABASE_URL": url}


@pytest.fixture(scope="module")
def urls(place: dict[str, str], redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Three gateways on ports of their own and two workers; each test uses uploads of its own."""
    folder = tmp_path_factory.mktemp("logs")
    own = {"SLUICE_REDIS_URL": redis_server, "SLUICE_REDIS_QUEUE_PREFIX": folder.name, "SLUICE_HEALTH_PORT": "0"}
    env = {**os.environ, **place, **own}
    subprocess.run([sys.executable, "-m", "cli.main", "migrate"], env=env, check=True, capture_output=True)
    with ExitStack() as parts:
        for number in range(WORKERS):
            command = [sys.executable, "-m", "worker"]
            parts.enter_context(running(command, folder / f"worker-{number}.log", lambda: True, env=env))
        found = []
        for number in range(GATEWAYS):
            port = unused_port()
            url = f"http://127.0.0.1:{port}"
            command = [sys.executable, "-m", "gateway", "--port", str(port)]
            log = folder / f"gateway-{number}.log"
            parts.enter_context(running(command, log, partial(_is_ready, url), env=env))
            found.append(url)
        yield found


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
    content, name = b"once" * 1000, "once.bin"
    client = uploader(*urls)
    upload = client.create(len(content), CHUNK, name)
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
    files = client.clients[0].get("/v1/files", params={"filename": name}).json()["items"]

    assert len(jobs) == 1
    assert [file["upload_id"] for file in files] == [upload["id"]]
