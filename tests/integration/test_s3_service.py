"""The service over an S3 store: what it advertises, what it refuses, what it leaves in the bucket."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest

from tests.fixtures.s3 import S3Server, new_bucket
from tests.fixtures.stack import RunningStack, stacks

MIB = 1024**2
PART = 5 * MIB


@pytest.fixture(scope="module")
def settings(moto_server: S3Server) -> dict[str, str]:
    """With the smallest part of real stores."""
    place = {"SLUICE_STORAGE_URL": f"s3://{new_bucket(moto_server)}/sluice"}
    return {**moto_server.settings, **place, "SLUICE_S3_MIN_PART": "5MiB", "SLUICE_S3_MAX_PARTS": "1000"}


@pytest.fixture(scope="module")
def stack(settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with stacks(tmp_path_factory.mktemp("s3")) as start:
        yield start(**settings)


@pytest.fixture
def http(stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=60, trust_env=False) as client:
        yield client


def ended(http: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = http.get(f"/v1/jobs/{job['id']}", params={"wait": 30}).json()
    assert answer["state"] == "succeeded", answer
    return answer


def stored(settings: dict[str, str], server: S3Server) -> list[str]:
    """All keys in the bucket."""
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=server.endpoint)
    bucket = settings["SLUICE_STORAGE_URL"].split("/")[2]
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=bucket).get("Contents", ())]
    parts = [item["Key"] for item in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]
    client.close()
    return sorted(keys + parts)


def test_the_limits_are_those_of_the_store(http: httpx.Client) -> None:
    limits = http.get("/v1/limits").json()
    assert limits["chunk_size"]["min"] == PART
    assert limits["max_chunks"] == 1000


def test_a_chunk_size_that_the_store_cannot_take_is_refused(http: httpx.Client) -> None:
    answer = http.post("/v1/uploads", json={"filename": "a", "size": 100 * MIB, "chunk_size": MIB})
    assert (answer.status_code, answer.json()["code"], answer.json()["minimum"]) == (422, "chunk_size", PART)


def test_a_large_file_gets_chunks_that_fit_into_the_parts_of_the_store(http: httpx.Client) -> None:
    upload = http.post("/v1/uploads", json={"filename": "a", "size": 1000 * 1000 * MIB}).json()
    assert upload["chunk_count"] <= 1000
    assert http.delete(upload["links"]["self"]).status_code == 204


def test_a_body_without_a_length_becomes_parts(http: httpx.Client) -> None:
    content = os.urandom(20 * MIB)
    pieces = (content[start : start + MIB] for start in range(0, len(content), MIB))
    job = http.post("/v1/files", params={"filename": "a.bin"}, content=pieces)
    assert job.status_code == 202, job.text
    file_id = ended(http, job.json())["file_id"]
    assert http.get(f"/v1/files/{file_id}/content").content == content
    part = http.get(f"/v1/files/{file_id}/content", headers={"Range": f"bytes={8 * MIB - 1}-{8 * MIB}"})
    assert (part.status_code, part.content) == (206, content[8 * MIB - 1 : 8 * MIB + 1])


def test_small_files_of_a_form_are_taken(http: httpx.Client) -> None:
    files = [("file", (f"{number}.txt", b"text %d" % number)) for number in range(3)]
    accepted = http.post("/v1/files", files=files).json()["files"]
    for number, item in enumerate(accepted):
        file_id = ended(http, {"id": item["job_id"]})["file_id"]
        assert http.get(f"/v1/files/{file_id}/content").content == b"text %d" % number


def test_an_aborted_upload_leaves_nothing(http: httpx.Client, settings: dict[str, str], moto_server: S3Server) -> None:
    before = stored(settings, moto_server)
    upload = http.post("/v1/uploads", json={"filename": "a", "size": PART + 1, "chunk_size": PART}).json()
    assert http.put(f"/v1/uploads/{upload['id']}/chunks/1", content=b"x").status_code == 200
    assert set(stored(settings, moto_server)) - set(before)
    assert http.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    assert set(stored(settings, moto_server)) - set(before) == set()


def test_of_a_finished_upload_only_the_file_is_left_and_fsck_agrees(
    http: httpx.Client, stack: RunningStack, settings: dict[str, str], moto_server: S3Server
) -> None:
    before = stored(settings, moto_server)
    job = http.post("/v1/files", params={"filename": "a.txt"}, content=b"one file").json()
    file_id = ended(http, job)["file_id"]
    _swept(job["upload_id"], settings, moto_server)
    assert [key for key in stored(settings, moto_server) if key not in before] == [
        f"sluice/default/files/{file_id[-2:]}/{file_id}"
    ]
    database = f"sqlite:///{stack.data / 'sluice.db'}"
    command = [sys.executable, "-m", "cli.main", "fsck"]
    env = {**os.environ, **settings, "SLUICE_DATABASE_URL": database}
    checked = subprocess.run(command, env=env, capture_output=True, text=True)
    assert checked.stdout == "0 findings\n", checked.stderr


def _swept(upload_id: str, settings: dict[str, str], server: S3Server) -> None:
    """The worker tidies up right after the file is published: until nothing of the upload is left."""
    for _ in range(300):
        if not any(upload_id in key for key in stored(settings, server)):
            return
        time.sleep(0.05)  # nobody is told when the worker has tidied up
    raise AssertionError("the upload was not tidied up")
