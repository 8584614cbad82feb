"""What a storage tells of what it holds, and the room that it keeps for uploads that are on their way."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest
from uuid_utils import uuid7

from common.storage.base import ObjectKey, Segment, UploadKey
from common.storage.local import LocalStorage
from tests.contract.storage_parts import CHUNK, Body, Cut, beginning, put_all, random_bytes, seal

CONTENT = random_bytes(2 * CHUNK)
Item = TypeVar("Item")


@pytest.fixture
def listing(storage: LocalStorage) -> LocalStorage:
    """A storage that can list."""
    return storage


async def all_of(batches: AsyncIterator[list[Item]]) -> list[Item]:
    return [item async for batch in batches for item in batch]


async def test_an_empty_storage_lists_nothing(listing: LocalStorage) -> None:
    assert await all_of(listing.uploads()) == []
    assert await all_of(listing.objects()) == []


async def test_uploads_of_all_tenants_are_listed(listing: LocalStorage) -> None:
    keys = [UploadKey(tenant, str(uuid7())) for tenant in ("default", "other", "other")]
    for key in keys:
        await listing.begin(*beginning(key, 10))
    assert sorted(await all_of(listing.uploads()), key=str) == sorted(keys, key=str)
    assert await all_of(listing.objects()) == []


async def test_a_sealed_file_is_an_object_and_its_receipts_an_upload_until_they_are_removed(
    listing: LocalStorage, upload: UploadKey, target: ObjectKey
) -> None:
    await listing.begin(*beginning(upload, len(CONTENT)))
    await put_all(listing, upload, CONTENT)
    await seal(listing, upload, target, CONTENT)
    assert await all_of(listing.objects()) == [target]
    assert await all_of(listing.uploads()) == [upload]
    await listing.abort(upload)
    assert await all_of(listing.uploads()) == []
    assert await all_of(listing.objects()) == [target]


async def test_what_was_aborted_or_deleted_is_listed_no_more(
    listing: LocalStorage, upload: UploadKey, target: ObjectKey
) -> None:
    await listing.begin(*beginning(upload, len(CONTENT)))
    await put_all(listing, upload, CONTENT)
    await seal(listing, upload, target, CONTENT)
    await listing.abort(upload)
    await listing.delete(target)
    assert [*await all_of(listing.uploads()), *await all_of(listing.objects())] == []


async def test_an_upload_whose_writer_broke_off_is_listed(listing: LocalStorage, upload: UploadKey) -> None:
    await listing.begin(*beginning(upload, len(CONTENT)))
    with pytest.raises(Cut):
        await listing.write(upload, Segment(0, len(CONTENT)), Body(CONTENT, cut_after=CHUNK))
    assert await all_of(listing.uploads()) == [upload]


async def test_many_objects_are_listed_once_each(listing: LocalStorage) -> None:
    keys = [(UploadKey("default", str(uuid7())), ObjectKey("default", str(uuid7()))) for _ in range(40)]
    for upload, target in keys:
        await listing.begin(*beginning(upload, 1))
        await put_all(listing, upload, b"x")
        await seal(listing, upload, target, b"x")
    listed = await all_of(listing.objects())
    assert sorted(listed, key=str) == sorted((target for _, target in keys), key=str)


async def test_a_file_that_lost_its_end_is_not_there(
    listing: LocalStorage, upload: UploadKey, target: ObjectKey
) -> None:
    await listing.begin(*beginning(upload, len(CONTENT)))
    await put_all(listing, upload, CONTENT)
    await seal(listing, upload, target, CONTENT)
    with pytest.raises(FileNotFoundError):
        await listing.read(target, 0, len(CONTENT) + 1)
    pieces = await listing.read(target, len(CONTENT), 0)
    assert [piece async for piece in pieces] == []


async def test_listing_while_uploads_come_and_go_fails_for_nobody(listing: LocalStorage) -> None:
    done = asyncio.Event()

    async def come_and_go() -> None:
        for _ in range(60):
            key = UploadKey("default", str(uuid7()))
            await listing.begin(*beginning(key, 10))
            await listing.abort(key)
        done.set()

    going = asyncio.create_task(come_and_go())
    while not done.is_set():
        await all_of(listing.uploads())
    await going
    assert await all_of(listing.uploads()) == []
