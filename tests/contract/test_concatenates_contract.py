"""What every storage that puts uploads together does."""

import dataclasses

import pytest
from uuid_utils import uuid7

from common.errors import ChunksMissing, LeaseLost
from common.storage.base import ObjectKey, SealWatch, Storage, UploadKey
from common.storage.streaming import Appends, Concatenates
from tests.contract.conftest import OpenStorage
from tests.contract.storage_parts import CHUNK, Watcher, content_of, digests_of, random_bytes
from tests.contract.test_appends_contract import append, append_all, seal, streaming

CONTENT = random_bytes(5 * CHUNK + 1000)
CUTS = {
    "small ones": (1, 10, 1000),
    "at the borders of chunks": (CHUNK, 3 * CHUNK),
    "beside them": (CHUNK + 1, 3 * CHUNK - 1),
    "large ones": (2 * CHUNK + 17,),
    "one": (),
    "empty ones": (0, CHUNK, CHUNK),
}
Parts = list[tuple[UploadKey, int]]


@pytest.fixture(autouse=True)
def _puts_together(storage: Storage) -> None:
    if not (isinstance(storage, Appends) and isinstance(storage, Concatenates)):
        pytest.skip("this storage does not put uploads together")


def part_of(upload: UploadKey) -> UploadKey:
    """A key of the same tenant."""
    return UploadKey(upload.tenant, str(uuid7()))


async def parts_of(storage: Storage, upload: UploadKey, *cuts: int) -> Parts:
    """Partial uploads that hold the content, cut there; each came in two pieces."""
    parts: Parts = []
    for start, end in zip((0, *cuts), (*cuts, len(CONTENT)), strict=True):
        key, content = part_of(upload), CONTENT[start:end]
        await storage.begin(*streaming(key, len(content)))
        if content:
            await append_all(storage, key, content, len(content) // 2)
        parts.append((key, len(content)))
    return parts


async def concatenate(storage: Storage, upload: UploadKey, parts: Parts, watch: SealWatch | None = None) -> None:
    assert isinstance(storage, Concatenates)
    await storage.concatenate(upload, parts, watch or Watcher().watch)


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS.keys())
async def test_parts_become_one_file(
    storage: Storage, upload: UploadKey, target: ObjectKey, cuts: tuple[int, ...]
) -> None:
    parts = await parts_of(storage, upload, *cuts)
    await storage.begin(*streaming(upload, len(CONTENT)))
    await concatenate(storage, upload, parts)
    sealed = await seal(storage, upload, CONTENT)
    assert sealed.digests == digests_of(CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_the_size_need_not_be_known_when_the_upload_begins(
    storage: Storage, upload: UploadKey, target: ObjectKey
) -> None:
    await storage.begin(*streaming(upload, None))
    await concatenate(storage, upload, await parts_of(storage, upload, 2 * CHUNK + 5))
    await seal(storage, upload, CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_the_parts_stay_as_they_are(storage: Storage, upload: UploadKey) -> None:
    parts = await parts_of(storage, upload, CHUNK + 5)
    await storage.begin(*streaming(upload, len(CONTENT)))
    await concatenate(storage, upload, parts)
    await seal(storage, upload, CONTENT)
    for key, size in parts:
        assert isinstance(storage, Appends)
        assert await storage.end(key) == size


async def test_a_part_may_come_twice(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    parts = await parts_of(storage, upload)
    await storage.begin(*streaming(upload, 2 * len(CONTENT)))
    await concatenate(storage, upload, parts * 2)
    await seal(storage, upload, CONTENT * 2)
    assert await content_of(storage, target, 2 * len(CONTENT)) == CONTENT * 2


async def test_doing_it_again_changes_nothing(open_another: OpenStorage, upload: UploadKey, target: ObjectKey) -> None:
    one, other = open_another(), open_another()
    parts = await parts_of(one, upload, CHUNK + 5)
    await one.begin(*streaming(upload, len(CONTENT)))
    await concatenate(one, upload, parts)
    await concatenate(other, upload, parts)
    await seal(other, upload, CONTENT)
    await concatenate(one, upload, parts)
    await seal(one, upload, CONTENT)
    assert await content_of(one, target, len(CONTENT)) == CONTENT


async def test_a_part_that_is_not_whole_is_refused(storage: Storage, upload: UploadKey) -> None:
    key = part_of(upload)
    await storage.begin(*streaming(key, 1000))
    await append(storage, key, 0, CONTENT[:999])
    await storage.begin(*streaming(upload, 1000))
    with pytest.raises(ChunksMissing):
        await concatenate(storage, upload, [(key, 1000)])


async def test_a_part_that_is_gone_is_missed(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*streaming(upload, len(CONTENT)))
    with pytest.raises(FileNotFoundError):
        await concatenate(storage, upload, [(part_of(upload), len(CONTENT))])


async def test_without_the_lease_nothing_is_put_together(storage: Storage, upload: UploadKey) -> None:
    parts = await parts_of(storage, upload, CHUNK + 5)
    await storage.begin(*streaming(upload, len(CONTENT)))
    with pytest.raises(LeaseLost):
        await concatenate(storage, upload, parts, dataclasses.replace(Watcher().watch, held=lambda: False))
    assert await storage.receipts(upload) == []
