"""An S3 store that loses answers, drops connections, asks to slow down, and fails after it has said 200."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest
from awscrt.checksums import crc64nvme

from common.errors import StorageUnavailable
from common.storage.base import ObjectKey, SealPlan, Segment, UploadKey, UploadShape
from common.storage.s3 import S3Storage
from tests.contract.storage_parts import (
    Body,
    Watcher,
    beginning,
    content_of,
    digests_of,
    put,
    put_all,
    random_bytes,
    receipt_of,
    seal,
)
from tests.faults.store.conftest import OpenS3
from tests.fixtures.faulty_store import FaultyStore, Kind, Request

CHUNK = 5 * 1024**2  # as small as a part may be; it streams
CONTENT = random_bytes(CHUNK + 1000)  # and its second part is held and sent whole
HELD, STREAMED = CHUNK, 0  # offsets of the two
MIB = 1024**2
Item = TypeVar("Item")


@pytest.fixture
async def received(storage: S3Storage, upload: UploadKey) -> UploadKey:
    await storage.begin(*beginning(upload, len(CONTENT), CHUNK))
    await put_all(storage, upload, CONTENT, chunk=CHUNK)
    return upload


async def all_of(batches: AsyncIterator[list[Item]]) -> list[Item]:
    return [item async for batch in batches for item in batch]


@pytest.mark.parametrize("kind", ["lose_answer", "error_in_200", "drop", "slow_down"])
async def test_a_complete_that_fails_once_ends_in_the_file(
    storage: S3Storage, store: FaultyStore, received: UploadKey, target: ObjectKey, kind: Kind
) -> None:
    store.next("complete", kind)
    sealed = await seal(storage, received, target, CONTENT, chunk=CHUNK)
    assert sealed.digests == digests_of(CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_a_complete_whose_answers_are_all_lost_has_happened_all_the_same(
    storage: S3Storage, store: FaultyStore, received: UploadKey, target: ObjectKey
) -> None:
    store.next("complete", "lose_answer", times=100)
    assert (await seal(storage, received, target, CONTENT, chunk=CHUNK)).digests == digests_of(CONTENT)


async def test_a_complete_that_never_arrives_is_told_and_can_be_repeated(
    storage: S3Storage, store: FaultyStore, received: UploadKey, target: ObjectKey
) -> None:
    store.next("complete", "drop", times=100)
    with pytest.raises(StorageUnavailable):
        await seal(storage, received, target, CONTENT, chunk=CHUNK)
    with pytest.raises(FileNotFoundError):
        await storage.read(target, 0, 1)
    store.heal()
    assert (await seal(storage, received, target, CONTENT, chunk=CHUNK)).digests == digests_of(CONTENT)


@pytest.mark.parametrize("offset", [STREAMED, HELD])
async def test_a_part_whose_answer_is_lost_has_arrived(
    storage: S3Storage, store: FaultyStore, upload: UploadKey, offset: int
) -> None:
    await storage.begin(*beginning(upload, len(CONTENT), CHUNK))
    store.next("part", "lose_answer", times=100)
    content = CONTENT[offset : offset + CHUNK]
    receipt = await put(storage, upload, offset, content)
    assert receipt == receipt_of(offset, content)
    assert await storage.receipts(upload) == [receipt]


@pytest.mark.parametrize("offset", [STREAMED, HELD])
async def test_a_store_that_asks_to_slow_down_is_asked_again(
    storage: S3Storage, store: FaultyStore, upload: UploadKey, offset: int
) -> None:
    await storage.begin(*beginning(upload, len(CONTENT), CHUNK))
    store.next("part", "slow_down", times=2)
    content = CONTENT[offset : offset + CHUNK]
    assert await put(storage, upload, offset, content) == receipt_of(offset, content)


@pytest.mark.parametrize(("offset", "kind"), [(STREAMED, "slow_down"), (HELD, "slow_down"), (STREAMED, "cut_body")])
async def test_a_part_that_never_arrives_leaves_no_receipt_and_can_be_sent_again(
    storage: S3Storage, store: FaultyStore, upload: UploadKey, offset: int, kind: Kind
) -> None:
    await storage.begin(*beginning(upload, len(CONTENT), CHUNK))
    store.next("part", kind, times=100)
    content = CONTENT[offset : offset + CHUNK]
    with pytest.raises(StorageUnavailable):
        await put(storage, upload, offset, content)
    store.heal()
    assert await storage.receipts(upload) == []
    assert await put(storage, upload, offset, content) == receipt_of(offset, content)


@pytest.mark.parametrize("kind", ["slow_down", "drop", "cut_body", "lose_answer"])
async def test_a_piece_of_an_append_is_sent_again_whole(
    storage: S3Storage, store: FaultyStore, upload: UploadKey, target: ObjectKey, kind: Kind
) -> None:
    await storage.begin(upload, UploadShape(len(CONTENT), CHUNK, target, stream=True))
    store.next("put", kind)
    receipt = await storage.append(upload, Segment(0, CHUNK), Body(CONTENT[:CHUNK]))
    assert receipt == receipt_of(0, CONTENT[:CHUNK])
    await storage.append(upload, Segment(CHUNK, CHUNK), Body(CONTENT[CHUNK:]))
    sealed = await storage.seal(upload, SealPlan(target, len(CONTENT), CHUNK, stream=True), Watcher().watch)
    assert sealed.digests == digests_of(CONTENT)


@pytest.mark.parametrize("request_kind", ["put", "create"])
async def test_a_begin_whose_answer_is_lost_is_found_again(
    storage: S3Storage, store: FaultyStore, upload: UploadKey, target: ObjectKey, request_kind: Request
) -> None:
    store.next(request_kind, "lose_answer")
    await storage.begin(*beginning(upload, len(CONTENT), CHUNK))
    await put_all(storage, upload, CONTENT, chunk=CHUNK)
    assert (await seal(storage, upload, target, CONTENT, chunk=CHUNK)).digests == digests_of(CONTENT)


async def test_what_a_lost_begin_left_at_the_key_of_a_file_is_listed_and_removed(
    storage: S3Storage, store: FaultyStore, upload: UploadKey, target: ObjectKey
) -> None:
    store.next("create", "lose_answer")
    await storage.begin(*beginning(upload, len(CONTENT), CHUNK))
    await storage.abort(upload)
    assert await all_of(storage.unsealed()) == []
    await storage.begin(*beginning(upload, len(CONTENT), CHUNK))
    assert await all_of(storage.unsealed()) == [target]
    await storage.delete(target)
    assert await all_of(storage.unsealed()) == []


async def test_four_that_begin_at_once_go_on_with_one_multipart_upload(
    storage: S3Storage, upload: UploadKey, target: ObjectKey
) -> None:
    await asyncio.gather(*(storage.begin(*beginning(upload, len(CONTENT), CHUNK)) for _ in range(4)))
    await put_all(storage, upload, CONTENT, chunk=CHUNK)
    await seal(storage, upload, target, CONTENT, chunk=CHUNK)
    assert await all_of(storage.unsealed()) == []


async def test_a_reader_goes_on_where_the_connection_broke(
    storage: S3Storage, store: FaultyStore, received: UploadKey, target: ObjectKey
) -> None:
    await seal(storage, received, target, CONTENT, chunk=CHUNK)
    store.next("get", "cut_answer", times=3)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_a_file_that_cannot_be_read_to_its_end_is_an_error(
    storage: S3Storage, store: FaultyStore, received: UploadKey, target: ObjectKey
) -> None:
    await seal(storage, received, target, CONTENT, chunk=CHUNK)
    pieces = await storage.read(target, 0, len(CONTENT))
    await anext(pieces)
    store.next("get", "drop", times=100)
    with pytest.raises(StorageUnavailable):
        await seal(storage, received, target, CONTENT, chunk=CHUNK)
    await pieces.aclose()  # type: ignore[attr-defined]


async def test_a_small_file_is_one_object_and_no_multipart_upload(
    storage: S3Storage, store: FaultyStore, upload: UploadKey, target: ObjectKey
) -> None:
    await storage.begin(*beginning(upload, 1000, CHUNK))
    await put(storage, upload, 0, CONTENT[:1000])
    await seal(storage, upload, target, CONTENT[:1000], chunk=CHUNK)
    assert await content_of(storage, target, 1000) == CONTENT[:1000]
    assert store.seen["create"] == store.seen["part"] == 0
    assert store.seen["put"] == 3  # the beginning, the claim, the bytes


class Zeros:
    """A source of `size` bytes that makes each batch when it is asked for."""

    read_ahead = True

    def __init__(self, size: int) -> None:
        self.length = 0
        self.crc64 = 0
        self._size = size

    async def __aiter__(self) -> AsyncIterator[list[bytes]]:
        while self.length < self._size:
            batch = bytes(min(MIB, self._size - self.length))
            self.length += len(batch)
            self.crc64 = crc64nvme(batch, self.crc64)
            yield [batch]


async def test_a_chunk_streams_through_bounded_memory(open_storage: OpenS3, upload: UploadKey) -> None:
    storage = await open_storage(s3_timeout="60")  # a body that streams is sent once
    size = 64 * MIB
    await storage.begin(*beginning(upload, 2 * size, size))
    tracemalloc.start()
    try:
        await storage.write(upload, Segment(0, size), Zeros(size))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB  # the proxy of this test is in the same process, and holds some of it
