"""The companion's routes over an S3 store: parts by presigned links, or to us where the store tells too little."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.s3 import S3Server, new_bucket
from tests.fixtures.stack import RunningStack, stacks
from tests.integration.gateway.processes import part
from tests.integration.gateway.rig import environment_of, serve

MIB = 1024**2
PART = 5 * MIB
ServeOver = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="module")
def direct_stack(versitygw_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The service over a store that tells checksums of parts."""
    settings = {"SLUICE_STORAGE_URL": f"s3://{new_bucket(versitygw_server)}"}
    with stacks(tmp_path_factory.mktemp("companion")) as start:
        yield start(**settings, **versitygw_server.settings)


@pytest.fixture
def http(direct_stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=direct_stack.url, timeout=30, trust_env=False) as client:
        yield client


def created(http: httpx.Client) -> str:
    return str(http.post("/s3/multipart", json={"filename": "a.bin"}).json()["uploadId"])


def sent(http: httpx.Client, upload_id: str, number: int, content: bytes) -> httpx.Response:
    """By the link, and with no more fields than a browser sends."""
    url = http.get(f"/s3/multipart/{upload_id}/{number}").json()["url"]
    return httpx.put(url, content=content, trust_env=False, timeout=30)


def completed(http: httpx.Client, upload_id: str, *parts: bytes) -> dict[str, Any]:
    """All parts sent and put together; the job at its end."""
    answers = [sent(http, upload_id, number, part) for number, part in enumerate(parts, 1)]
    named = [{"PartNumber": number, "ETag": answer.headers["etag"]} for number, answer in enumerate(answers, 1)]
    answer = http.post(f"/s3/multipart/{upload_id}/complete", json={"parts": named})
    assert answer.status_code == 200, answer.text
    return dict(http.get(f"/v1/jobs/{answer.json()['job_id']}", params={"wait": 20}).json())


@pytest.mark.parametrize("size", [PART, 6 * MIB + 1])
def test_parts_of_any_size_go_to_the_store_and_become_the_file(
    http: httpx.Client, versitygw_server: S3Server, size: int
) -> None:
    content = os.urandom(2 * size + 77)
    upload_id = created(http)
    link = http.get(f"/s3/multipart/{upload_id}/1").json()["url"]
    ended = completed(http, upload_id, content[:size], content[size : 2 * size], content[2 * size :])

    assert link.startswith(versitygw_server.endpoint)
    assert ended["state"] == "succeeded", ended
    assert http.get(f"/v1/files/{ended['file_id']}/content").content == content


def test_one_short_part_in_the_store_is_a_whole_file(http: httpx.Client) -> None:
    ended = completed(http, created(http), b"short")
    assert http.get(f"/v1/files/{ended['file_id']}/content").content == b"short"


def test_parts_in_the_store_are_listed_for_who_comes_back(http: httpx.Client) -> None:
    upload_id = created(http)
    sent(http, upload_id, 2, b"x" * PART)
    assert [(part["PartNumber"], part["Size"]) for part in http.get(f"/s3/multipart/{upload_id}").json()] == [(2, PART)]


def test_a_crash_between_the_two_notes_of_the_part_size_is_put_right(
    http: httpx.Client, direct_stack: RunningStack
) -> None:
    """The row knows the size of the parts, the store does not yet: who completes next goes on from there."""
    size = 6 * MIB
    content = os.urandom(size + 5)
    upload_id = created(http)
    with sqlite3.connect(direct_stack.data / "sluice.db", timeout=10) as rows:
        rows.execute("UPDATE uploads SET chunk_size = ? WHERE id = ?", (size, upload_id))
    ended = completed(http, upload_id, content[:size], content[size:])
    assert http.get(f"/v1/files/{ended['file_id']}/content").content == content


@pytest.fixture
def serve_over(migrated_sqlite: Path, redis_url: str, tmp_path: Path) -> ServeOver:
    """A gateway and a worker with this store behind them; keyword arguments are settings without their prefix."""

    @contextmanager
    def opened(server: S3Server, **settings: str) -> Iterator[httpx.Client]:
        shutil.copy(migrated_sqlite, tmp_path / "sluice.db")
        place = {"SLUICE_STORAGE_URL": f"s3://{new_bucket(server)}", **server.settings}
        environment = environment_of(tmp_path, redis_url, **settings) | place
        worker = part("worker", environment=environment, log=tmp_path / "worker.log")
        with serve(tmp_path, environment) as gateway, worker:
            yield gateway.http

    return opened


def test_where_the_store_tells_no_checksums_the_gateway_takes_the_parts(
    serve_over: ServeOver, moto_server: S3Server
) -> None:
    size = 6 * MIB
    content = os.urandom(size + 9)
    with serve_over(moto_server) as http:
        upload_id = created(http)
        link = http.get(f"/s3/multipart/{upload_id}/1").json()["url"]
        ended = completed(http, upload_id, content[:size], content[size:])
        assert link.startswith(str(http.base_url))
        assert http.get(f"/v1/files/{ended['file_id']}/content").content == content


def test_a_setting_keeps_all_parts_on_the_way_through_the_gateway(
    serve_over: ServeOver, versitygw_server: S3Server
) -> None:
    with serve_over(versitygw_server, S3_COMPANION_DIRECT="false") as http:
        upload_id = created(http)
        assert http.get(f"/s3/multipart/{upload_id}/1").json()["url"].startswith(str(http.base_url))
        assert completed(http, upload_id, os.urandom(PART), b"rest")["state"] == "succeeded"
