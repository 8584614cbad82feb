"""What this storage finds out about its store, and what happens to it behind our back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import boto3
import pytest
from uuid_utils import uuid7

from common.errors import ChunkConflict, DigestMismatch, StorageUnavailable
from common.settings import StorageSettings
from common.storage.base import ObjectKey, Segment, UploadKey
from common.storage.s3 import S3Storage
from common.storage.s3.probe import Capabilities
from tests.contract.storage_parts import Body, beginning, content_of, put_all, random_bytes, seal
from tests.fixtures.s3 import S3Server, new_bucket

CHUNK = 5 * 1024**2
CONTENT = random_bytes(CHUNK + 100)
OpenS3 = Callable[..., S3Storage]


@pytest.fixture
async def opened() -> AsyncIterator[OpenS3]:
    """Opens a storage in a bucket of a server; closed at the end."""
    made: list[S3Storage] = []

    def opener(server: S3Server, bucket: str, **settings: Any) -> S3Storage:
        own = {"storage_url": f"s3://{bucket}", "s3_endpoint_url": server.endpoint, "s3_path_style": True, **settings}
        made.append(S3Storage(StorageSettings.model_validate(own)))
        return made[-1]

    yield opener
    for storage in made:
        await storage.close()


async def test_what_moto_can_do_is_found_out(opened: OpenS3, moto_server: S3Server) -> None:
    storage = opened(moto_server, new_bucket(moto_server))
    assert await storage.capabilities() == Capabilities(
        trailer="CRC64NVME",
        listed_crc64=False,
        whole_crc64=False,
        conditional_put=True,
        conditional_complete=True,
        md5_etags=True,
    )
    assert not await storage.presigns()


async def test_what_versitygw_can_do_is_found_out(opened: OpenS3, versitygw_server: S3Server) -> None:
    storage = opened(versitygw_server, new_bucket(versitygw_server))
    assert await storage.capabilities() == Capabilities(
        trailer="CRC64NVME",
        listed_crc64=True,
        whole_crc64=True,
        conditional_put=True,
        conditional_complete=True,
        md5_etags=True,
    )
    assert await storage.presigns()


async def test_finding_out_leaves_nothing_behind(opened: OpenS3, moto_server: S3Server) -> None:
    bucket = new_bucket(moto_server)
    await opened(moto_server, bucket).capabilities()
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=moto_server.endpoint)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    client.close()


async def test_a_bucket_that_is_not_there_is_no_empty_one(opened: OpenS3, moto_server: S3Server) -> None:
    storage = opened(moto_server, "nobody-has-made-me")
    key = UploadKey("default", str(uuid7()))
    with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
        await storage.begin(*beginning(key, 10))
    with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
        await storage.read(ObjectKey("default", str(uuid7())), 0, 1)
    with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
        await storage.check_writable()


async def test_another_bucket_than_the_known_one_is_refused(opened: OpenS3, moto_server: S3Server) -> None:
    one, other = (opened(moto_server, new_bucket(moto_server)) for _ in range(2))
    known = await one.initialise(str(uuid7()))
    assert await one.initialise(str(uuid7())) == known
    one.expect(known)
    other.expect(known)
    await one.check_writable()
    with pytest.raises(StorageUnavailable, match="SLUICE_STORAGE_URL"):
        await other.check_writable()


async def test_an_upload_whose_parts_a_lifecycle_rule_removed_begins_anew(
    opened: OpenS3, moto_server: S3Server
) -> None:
    bucket = new_bucket(moto_server)
    storage = opened(moto_server, bucket)
    key = UploadKey("default", str(uuid7()))
    await storage.begin(*beginning(key, len(CONTENT), CHUNK))
    await put_all(storage, key, CONTENT, chunk=CHUNK)
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=moto_server.endpoint)
    for item in client.list_multipart_uploads(Bucket=bucket)["Uploads"]:
        client.abort_multipart_upload(Bucket=bucket, Key=item["Key"], UploadId=item["UploadId"])
    client.close()

    with pytest.raises(FileNotFoundError):
        await storage.receipts(key)
    await storage.begin(*beginning(key, len(CONTENT), CHUNK))
    assert await storage.receipts(key) == []
    await put_all(storage, key, CONTENT, chunk=CHUNK)
    target = ObjectKey("default", key.upload_id)
    await seal(storage, key, target, CONTENT, chunk=CHUNK)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("lacking", ["trailer", "conditional_put", "conditional_complete"])
async def test_a_store_that_lacks_a_feature_takes_and_gives_the_same_files(
    opened: OpenS3, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    storage = opened(moto_server, new_bucket(moto_server))
    can = await storage.capabilities()
    less: dict[str, Any] = {lacking: None if lacking == "trailer" else False}
    monkeypatch.setattr(storage._store, "_capabilities", replace(can, **less))
    key = UploadKey("default", str(uuid7()))
    target = ObjectKey("default", key.upload_id)
    await storage.begin(*beginning(key, len(CONTENT), CHUNK))
    await put_all(storage, key, CONTENT, chunk=CHUNK)
    await seal(storage, key, target, CONTENT, chunk=CHUNK)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("size", [CHUNK, 2 * CHUNK], ids=["one object", "a part"])
async def test_of_two_writers_under_way_with_other_bytes_the_first_to_end_wins(
    opened: OpenS3, s3_server: S3Server, s3_bucket: str, size: int
) -> None:
    one, other = (opened(s3_server, f"{s3_bucket}/race-{size}") for _ in range(2))
    key = UploadKey("default", str(uuid7()))
    await one.begin(*beginning(key, size, CHUNK))
    bodies = [Body(random_bytes(CHUNK, seed), batch=1024**2, hold_at=CHUNK) for seed in (2, 3)]
    writing = [
        asyncio.create_task(storage.write(key, Segment(0, CHUNK), body))
        for storage, body in zip((one, other), bodies, strict=True)
    ]
    await asyncio.gather(*(body.held.wait() for body in bodies))
    bodies[0].go_on.set()
    first = await writing[0]
    bodies[1].go_on.set()
    with pytest.raises(ChunkConflict):
        await writing[1]
    assert await other.receipts(key) == [first]
    assert first.crc64 == bodies[0].crc64


@pytest.mark.parametrize("server", ["moto_server", "versitygw_server"])
@pytest.mark.parametrize("same", [True, False])
async def test_a_store_that_refuses_before_it_takes_a_byte_is_no_word_about_the_bytes(
    opened: OpenS3, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str, same: bool
) -> None:
    store: S3Server = request.getfixturevalue(server)
    bucket = new_bucket(store)
    one, other = (opened(store, bucket) for _ in range(2))
    key = UploadKey("default", str(uuid7()))
    await one.begin(*beginning(key, CHUNK, CHUNK))
    first = await one.write(key, Segment(0, CHUNK), Body(CONTENT[:CHUNK]))

    async def nobody_was_first(*_: object) -> None:
        """As it was a moment before the first one ended."""

    monkeypatch.setattr(other._claims, "get", nobody_was_first)
    content = CONTENT[:CHUNK] if same else random_bytes(CHUNK, 9)
    body = Body(content, batch=1024**2, hold_at=0)
    writing = asyncio.create_task(other.write(key, Segment(0, CHUNK), body))
    await body.held.wait()
    monkeypatch.undo()
    body.go_on.set()
    await asyncio.wait([writing])
    if isinstance(writing.exception(), StorageUnavailable):  # it hung up before its refusal was read: the client's turn
        writing = asyncio.create_task(other.write(key, Segment(0, CHUNK), Body(content)))
    if same:
        assert await writing == first
    else:
        with pytest.raises(ChunkConflict):
            await writing


async def test_bytes_that_are_refused_at_their_end_are_no_part_even_without_a_checksum_behind_them(
    opened: OpenS3, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(moto_server)
    storage = opened(moto_server, bucket)
    monkeypatch.setattr(storage._store, "_capabilities", replace(await storage.capabilities(), trailer=None))
    key = UploadKey("default", str(uuid7()))
    await storage.begin(*beginning(key, len(CONTENT), CHUNK))
    body = Refused(CONTENT[:CHUNK], batch=1024**2)
    with pytest.raises(DigestMismatch):
        await storage.write(key, Segment(0, CHUNK), body)
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=moto_server.endpoint)
    (made,) = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    parts = client.list_parts(Bucket=bucket, Key=made["Key"], UploadId=made["UploadId"])
    client.close()
    assert parts.get("Parts", []) == []


class Refused(Body):
    """All bytes come, and are not what the client declared."""

    async def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
        async for batch in super().__aiter__():
            yield batch
        raise DigestMismatch("other bytes")


async def test_a_cancelled_writer_that_made_the_multipart_upload_takes_no_parts_with_it(
    opened: OpenS3, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = new_bucket(moto_server)
    one, other = (opened(moto_server, bucket) for _ in range(2))
    key = UploadKey("default", str(uuid7()))
    await one.begin(*beginning(key, None, CHUNK))  # its multipart upload is made with the first part
    reached = asyncio.Event()

    async def for_ever(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(one._uploads, "require", for_ever)
    writing = asyncio.create_task(one.write(key, Segment(0, CHUNK), Body(CONTENT[:CHUNK])))
    await reached.wait()
    receipt = await other.write(key, Segment(CHUNK, CHUNK), Body(CONTENT[CHUNK:]))
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await other.receipts(key) == [receipt]
