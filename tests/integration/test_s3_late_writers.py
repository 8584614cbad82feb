"""Who is late, because its process was stopped, leaves nothing behind of an upload that others have finished."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from uuid_utils import uuid7

from common.settings import StorageSettings
from common.storage.base import ObjectKey, Segment, UploadKey
from common.storage.s3 import S3Storage
from tests.contract.storage_parts import Body, beginning, put_all, random_bytes, seal
from tests.fixtures.s3 import S3Server, new_bucket

CHUNK = 1024
CONTENT = random_bytes(CHUNK + 100)


@dataclass
class Stop:
    """The process stands still before a request: `at` is set there, and it goes on with `go_on`."""

    at: asyncio.Event
    go_on: asyncio.Event

    async def reached(self) -> None:
        await asyncio.wait_for(self.at.wait(), 10)


StopAt = Callable[[S3Storage, str, str], Stop]


def target(key: UploadKey) -> ObjectKey:
    return ObjectKey(key.tenant, key.upload_id)


@pytest.fixture
def bucket(moto_server: S3Server) -> str:
    return new_bucket(moto_server)


@pytest.fixture
async def storages(moto_server: S3Server, bucket: str) -> AsyncIterator[tuple[S3Storage, S3Storage]]:
    """Two processes that use the bucket."""
    place = {"storage_url": f"s3://{bucket}", "s3_endpoint_url": moto_server.endpoint, "s3_path_style": True}
    one, other = (S3Storage(StorageSettings.model_validate({**place, "s3_min_part": 1})) for _ in range(2))
    yield one, other
    await one.close()
    await other.close()


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> StopAt:
    """Stop a process before its first request of an operation to a key that ends in these words."""

    def stop(storage: S3Storage, operation: str, words: str) -> Stop:
        stopped = Stop(asyncio.Event(), asyncio.Event())
        real = storage._client.call

        async def call(name: str, **params: Any) -> Any:
            if name == operation and words in params.get("Key", "") and not stopped.at.is_set():
                stopped.at.set()
                await stopped.go_on.wait()
            return await real(name, **params)

        monkeypatch.setattr(storage._client, "call", call)
        return stopped

    return stop


@pytest.fixture
def left(moto_server: S3Server, bucket: str) -> Iterator[Callable[[], list[str]]]:
    """Keys of uploads in the bucket."""
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=moto_server.endpoint)

    def keys() -> list[str]:
        found = client.list_objects_v2(Bucket=bucket, Prefix="default/uploads/").get("Contents", [])
        return [item["Key"] for item in found]

    yield keys
    client.close()


async def test_a_seal_that_is_late_with_its_record_takes_it_away(
    storages: tuple[S3Storage, S3Storage], stop_at: StopAt, left: Callable[[], list[str]]
) -> None:
    late, swift = storages
    key = UploadKey("default", str(uuid7()))
    await swift.begin(*beginning(key, len(CONTENT), CHUNK))
    await put_all(swift, key, CONTENT, CHUNK)
    stopped = stop_at(late, "put_object", "/seal")
    sealing = asyncio.create_task(seal(late, key, target(key), CONTENT, chunk=CHUNK))
    await stopped.reached()
    await seal(swift, key, target(key), CONTENT, chunk=CHUNK)
    await swift.abort(key)

    stopped.go_on.set()
    with pytest.raises(FileNotFoundError):
        await sealing

    assert left() == []


async def test_a_cancelled_seal_takes_its_record_away_all_the_same(
    storages: tuple[S3Storage, S3Storage], stop_at: StopAt, left: Callable[[], list[str]]
) -> None:
    late, swift = storages
    key = UploadKey("default", str(uuid7()))
    await swift.begin(*beginning(key, len(CONTENT), CHUNK))
    await put_all(swift, key, CONTENT, CHUNK)
    stopped = stop_at(late, "put_object", "/seal")
    gone = stop_at(late, "delete_object", "/seal")
    sealing = asyncio.create_task(seal(late, key, target(key), CONTENT, chunk=CHUNK))
    await stopped.reached()
    await swift.abort(key)
    sealing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sealing

    stopped.go_on.set()
    await gone.reached()


async def test_what_is_written_while_an_upload_is_removed_goes_with_it(
    storages: tuple[S3Storage, S3Storage], stop_at: StopAt, left: Callable[[], list[str]]
) -> None:
    late, swift = storages
    key = UploadKey("default", str(uuid7()))
    await swift.begin(*beginning(key, len(CONTENT), CHUNK))
    await put_all(swift, key, CONTENT, CHUNK)
    removal = stop_at(swift, "delete_object", "/begun")  # it has listed and removed the rest
    removing = asyncio.create_task(swift.abort(key))
    await removal.reached()
    upload = await late._uploads.look(key)
    await late._store.put_once(upload.keys.claim(1), b"a claim")

    removal.go_on.set()
    await removing

    assert left() == []


async def test_a_chunk_that_is_late_takes_its_claim_away(
    storages: tuple[S3Storage, S3Storage], stop_at: StopAt, left: Callable[[], list[str]]
) -> None:
    late, swift = storages
    key = UploadKey("default", str(uuid7()))
    await swift.begin(*beginning(key, len(CONTENT), CHUNK))
    stopped = stop_at(late, "put_object", "/claims/")
    writing = asyncio.create_task(late.write(key, Segment(0, CHUNK), Body(CONTENT[:CHUNK])))
    await stopped.reached()
    await swift.abort(key)

    stopped.go_on.set()
    with pytest.raises(FileNotFoundError):
        await writing

    assert left() == []
