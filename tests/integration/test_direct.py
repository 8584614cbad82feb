"""Direct uploads: the bytes go from the client to the store, finalize looks what arrived."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from client import AsyncClient, SluiceApiError, UploadOptions
from tests.fixtures.s3 import S3Server, new_bucket
from tests.fixtures.stack import RunningStack, stacks
from tests.integration.gateway.rig import environment_of, serve

MIB = 1024**2
PART = 5 * MIB  # as small as parts may be
CONTENT = os.urandom(2 * PART + 1000)


@pytest.fixture(scope="module")
def direct_stack(versitygw_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The service over a store that tells checksums of parts."""
    settings = {"SLUICE_STORAGE_URL": f"s3://{new_bucket(versitygw_server)}", "SLUICE_S3_LINK_SECONDS": "300"}
    with stacks(tmp_path_factory.mktemp("direct")) as start:
        yield start(**settings, **versitygw_server.settings)


@pytest.fixture
def http(direct_stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=direct_stack.url, timeout=30, trust_env=False) as client:
        yield client


def created(http: httpx.Client, **more: Any) -> dict[str, Any]:
    body = {"filename": "a.bin", "size": len(CONTENT), "chunk_size": PART, "transport": "direct", **more}
    answer = http.post("/v1/uploads", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_chunks_sent_by_links_become_the_file(http: httpx.Client) -> None:
    upload = created(http)
    page = http.get(upload["links"]["parts"], params={"limit": 2}).json()
    rest = http.get(upload["links"]["parts"], params={"cursor": page["next_cursor"]}).json()
    parts = page["items"] + rest["items"]
    for part in parts:
        content = CONTENT[part["offset"] : part["offset"] + part["size"]]
        assert httpx.put(part["url"], content=content, headers=part["headers"], trust_env=False).status_code == 200
    accepted = http.post(upload["links"]["finalize"])
    assert accepted.status_code == 202, accepted.text
    job = accepted.json()
    ended = http.get(f"/v1/jobs/{job['id']}", params={"wait": 20}).json()

    assert [part["index"] for part in parts] == [0, 1, 2]
    assert rest["next_cursor"] is None
    assert ended["state"] == "succeeded", ended
    assert http.get(f"/v1/files/{ended['file_id']}/content").content == CONTENT


def test_only_what_is_missing_has_links_and_finalize_names_it(http: httpx.Client) -> None:
    upload = created(http)
    first = http.get(upload["links"]["parts"]).json()["items"][0]
    httpx.put(first["url"], content=CONTENT[:PART], headers=first["headers"], trust_env=False).raise_for_status()
    refused = http.post(upload["links"]["finalize"])

    assert [part["index"] for part in http.get(upload["links"]["parts"]).json()["items"]] == [1, 2]
    assert (refused.status_code, refused.json()["code"]) == (409, "chunks_missing")
    assert refused.json()["missing"] == [[1, 2]]


def test_a_chunk_of_another_length_is_refused_by_the_store(http: httpx.Client) -> None:
    upload = created(http)
    last = http.get(upload["links"]["parts"]).json()["items"][-1]
    assert last["size"] == 1000
    assert httpx.put(last["url"], content=bytes(999), trust_env=False).status_code == 403
    assert http.get(f"/v1/uploads/{upload['id']}").json()["received_bytes"] == 0


def test_a_link_is_of_no_use_after_the_upload_was_finalized(http: httpx.Client) -> None:
    upload = created(http)
    parts = http.get(upload["links"]["parts"]).json()["items"]
    for part in parts:
        content = CONTENT[part["offset"] : part["offset"] + part["size"]]
        httpx.put(part["url"], content=content, trust_env=False).raise_for_status()
    job = http.post(upload["links"]["finalize"]).json()
    http.get(f"/v1/jobs/{job['id']}", params={"wait": 20})
    late = httpx.put(parts[0]["url"], content=bytes(PART), trust_env=False)

    assert late.status_code == 404
    assert http.get(upload["links"]["parts"]).json()["code"] == "upload_not_open"


def test_the_client_sends_to_the_store_and_not_to_the_gateway(
    direct_stack: RunningStack, http: httpx.Client, tmp_path: Path
) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(CONTENT)

    async def upload() -> Any:
        async with AsyncClient(direct_stack.url, headers={"Authorization": "Bearer ours"}) as sluice:
            return await sluice.upload_file(path, UploadOptions(direct=True, chunk_size=PART))

    before = _received(http)
    result = asyncio.run(upload())

    assert result.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert result.sent_bytes == len(CONTENT)
    assert _received(http) == before  # none of it came through the gateway


def _received(http: httpx.Client) -> float:
    metrics = http.get("/metrics").text
    line = next(line for line in metrics.splitlines() if line.startswith("sluice_received_bytes_total"))
    return float(line.split()[1])


def test_a_storage_in_a_folder_refuses_direct_uploads_by_name(
    migrated_sqlite: Path, redis_url: str, tmp_path: Path
) -> None:
    shutil.copy(migrated_sqlite, tmp_path / "sluice.db")

    async def upload(url: str) -> None:
        async with AsyncClient(url) as sluice:
            await sluice.upload_bytes(b"x", "a.bin", UploadOptions(direct=True))

    with serve(tmp_path, environment_of(tmp_path, redis_url)) as gateway, pytest.raises(SluiceApiError) as refused:
        asyncio.run(upload(f"http://127.0.0.1:{gateway.port}"))
    assert (refused.value.status, refused.value.code) == (409, "direct_not_available")
