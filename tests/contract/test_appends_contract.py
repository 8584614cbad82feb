"""What every storage that takes streams does with appends. Sizes around the chunk size, odd ones and none."""

import asyncio

import pytest

from common.errors import ChunksDamaged, OffsetMismatch, UploadNotOpen
from common.storage.base import ObjectKey, Receipt, SealedObject, SealPlan, Segment, Storage, UploadKey, UploadShape
from common.storage.streaming import Appends
from tests.contract.conftest import Damage, OpenStorage
from tests.contract.storage_parts import CHUNK, Body, Cut, Watcher, content_of, digests_of, random_bytes

CONTENT = random_bytes(3 * CHUNK + 1000)


@pytest.fixture(autouse=True)
def _takes_streams(storage: Storage) -> None:
    if not isinstance(storage, Appends):
        pytest.skip("this storage takes no streams")


def streaming(upload: UploadKey, size: int | None = len(CONTENT)) -> tuple[UploadKey, UploadShape]:
    """The arguments of `begin`."""
    return upload, UploadShape(size, CHUNK, ObjectKey(upload.tenant, upload.upload_id), stream=True)


async def append(storage: Storage, upload: UploadKey, offset: int, content: bytes, most: int = 0) -> Receipt:
    assert isinstance(storage, Appends)
    return await storage.append(upload, Segment(offset, most or len(content)), Body(content))


async def append_all(storage: Storage, upload: UploadKey, content: bytes, *ends: int) -> None:
    """The content in pieces that end there."""
    for start, end in zip((0, *ends), (*ends, len(content)), strict=True):
        await append(storage, upload, start, content[start:end])


async def end_of(storage: Storage, upload: UploadKey) -> int:
    assert isinstance(storage, Appends)
    return await storage.end(upload)


async def seal(storage: Storage, upload: UploadKey, content: bytes) -> SealedObject:
    plan = SealPlan(ObjectKey(upload.tenant, upload.upload_id), len(content), CHUNK, stream=True)
    return await storage.seal(upload, plan, Watcher().watch)


async def test_a_new_stream_ends_at_0(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*streaming(upload))
    assert await end_of(storage, upload) == 0


async def test_an_append_moves_the_end(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*streaming(upload))
    receipt = await append(storage, upload, 0, CONTENT[:1000])
    assert (receipt.offset, receipt.length) == (0, 1000)
    assert await end_of(storage, upload) == 1000


async def test_an_empty_append_changes_nothing(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*streaming(upload))
    await append(storage, upload, 0, CONTENT[:10])
    await append(storage, upload, 10, b"", most=100)
    assert await end_of(storage, upload) == 10


async def test_a_body_may_bring_less_than_its_segment(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*streaming(upload))
    await append(storage, upload, 0, CONTENT[:999], most=len(CONTENT))
    assert await end_of(storage, upload) == 999


@pytest.mark.parametrize(
    "ends", [(), (1,), (CHUNK - 1,), (CHUNK,), (CHUNK + 1, CHUNK + 2), (7, 2 * CHUNK, 2 * CHUNK + 9)]
)
@pytest.mark.parametrize("size", [len(CONTENT), None])
async def test_a_stream_in_odd_pieces_is_sealed_whole(
    storage: Storage, upload: UploadKey, target: ObjectKey, ends: tuple[int, ...], size: int | None
) -> None:
    await storage.begin(*streaming(upload, size))
    await append_all(storage, upload, CONTENT, *ends)
    assert await end_of(storage, upload) == len(CONTENT)
    sealed = await seal(storage, upload, CONTENT)
    assert sealed.digests == digests_of(CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
async def test_a_small_stream_is_sealed_whole(
    storage: Storage, upload: UploadKey, target: ObjectKey, size: int
) -> None:
    await storage.begin(*streaming(upload, size))
    if size:
        await append(storage, upload, 0, CONTENT[:size])
    await seal(storage, upload, CONTENT[:size])
    assert await content_of(storage, target, size) == CONTENT[:size]


@pytest.mark.parametrize("offset", [0, 999, 1001, CHUNK])
async def test_an_append_elsewhere_is_refused_before_its_first_byte(
    storage: Storage, upload: UploadKey, offset: int
) -> None:
    assert isinstance(storage, Appends)
    await storage.begin(*streaming(upload))
    await append(storage, upload, 0, CONTENT[:1000])
    body = Body(b"x" * 10)
    with pytest.raises(OffsetMismatch) as refused:
        await storage.append(upload, Segment(offset, 10), body)
    assert refused.value.extras == {"expected_offset": 1000, "provided_offset": offset}
    assert not body.started
    assert await end_of(storage, upload) == 1000


async def test_of_a_body_that_fails_nothing_counts(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    assert isinstance(storage, Appends)
    await storage.begin(*streaming(upload))
    await append(storage, upload, 0, CONTENT[:1000])
    bad = Body(random_bytes(2 * CHUNK, seed=2), cut_after=CHUNK + 4096)
    with pytest.raises(Cut):
        await storage.append(upload, Segment(1000, 2 * CHUNK), bad)
    assert await end_of(storage, upload) == 1000
    await append(storage, upload, 1000, CONTENT[1000:])
    await seal(storage, upload, CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_another_process_goes_on_at_the_end(
    open_another: OpenStorage, upload: UploadKey, target: ObjectKey
) -> None:
    one, other = open_another(), open_another()
    await one.begin(*streaming(upload))
    for start in range(0, len(CONTENT), 20_001):
        await append(one, upload, start, CONTENT[start : start + 20_001])
        one, other = other, one
        assert await end_of(one, upload) == min(start + 20_001, len(CONTENT))
    await seal(other, upload, CONTENT)
    assert await content_of(one, target, len(CONTENT)) == CONTENT


@pytest.mark.parametrize("length", [1000, CHUNK, CHUNK + 1000])
async def test_of_two_appends_at_one_offset_one_counts(
    open_another: OpenStorage, upload: UploadKey, target: ObjectKey, length: int
) -> None:
    one, other = open_another(), open_another()
    await one.begin(*streaming(upload, 500 + length))
    start = CONTENT[:500]
    await append(one, upload, 0, start)
    contents = [random_bytes(length, seed) for seed in (2, 3)]
    outcomes = await asyncio.gather(
        append(one, upload, 500, contents[0]), append(other, upload, 500, contents[1]), return_exceptions=True
    )
    won = [not isinstance(outcome, BaseException) for outcome in outcomes]
    assert sorted(won) == [False, True], outcomes
    assert isinstance(outcomes[won.index(False)], OffsetMismatch)
    whole = start + contents[won.index(True)]
    await seal(other, upload, whole)
    assert await content_of(one, target, len(whole)) == whole


async def test_the_receipts_of_a_stream_follow_each_other(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*streaming(upload))
    await append_all(storage, upload, CONTENT, 10, CHUNK + 5)
    end = 0
    for receipt in await storage.receipts(upload):
        assert receipt.offset == end
        end += receipt.length
    assert end == len(CONTENT)


async def test_an_append_to_an_upload_that_was_aborted_is_refused(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*streaming(upload))
    await append(storage, upload, 0, CONTENT[:10])
    await storage.abort(upload)
    with pytest.raises(FileNotFoundError):
        await append(storage, upload, 10, CONTENT[10:20])
    with pytest.raises(FileNotFoundError):
        await end_of(storage, upload)
    assert [key async for batch in storage.uploads() for key in batch] == []  # type: ignore[attr-defined]


async def test_a_sealed_stream_takes_no_more(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    await storage.begin(*streaming(upload, None))
    await append(storage, upload, 0, CONTENT)
    await seal(storage, upload, CONTENT)
    with pytest.raises((UploadNotOpen, FileNotFoundError)):
        await append(storage, upload, len(CONTENT), b"more")
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_after_damage_the_stream_goes_on_at_the_first_hole(
    storage: Storage, upload: UploadKey, target: ObjectKey, damage: Damage
) -> None:
    await storage.begin(*streaming(upload))
    await append_all(storage, upload, CONTENT, CHUNK, 2 * CHUNK)
    await damage(upload, CHUNK + 10, CONTENT)
    with pytest.raises(ChunksDamaged) as found:
        await seal(storage, upload, CONTENT)
    assert found.value.extras["chunks"] == [1]
    assert await end_of(storage, upload) == CHUNK
    await append(storage, upload, CHUNK, CONTENT[CHUNK:])
    await seal(storage, upload, CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT
