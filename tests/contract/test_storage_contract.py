"""What every storage does with the bytes of an upload until it is sealed. `test_storage_seal_contract` goes on."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from common.errors import ChunkBusy, ChunkConflict
from common.storage.base import ObjectKey, Segment, Storage, UploadKey
from tests.contract.conftest import OpenStorage
from tests.contract.storage_parts import (
    CHUNK,
    Body,
    Cut,
    beginning,
    content_of,
    put,
    put_all,
    random_bytes,
    receipt_of,
    seal,
)

CONTENT = random_bytes(3 * CHUNK + 1000)
PART = CHUNK // 2


async def test_a_write_answers_with_the_receipt_of_its_bytes(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    receipt = await put(storage, upload, CHUNK, CONTENT[CHUNK : 2 * CHUNK])
    assert receipt == receipt_of(CHUNK, CONTENT[CHUNK : 2 * CHUNK])
    assert await storage.receipts(upload) == [receipt]


async def test_a_new_upload_has_no_receipts(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    assert await storage.receipts(upload) == []


async def test_beginning_again_changes_nothing(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    receipt = await put(storage, upload, 0, CONTENT[:CHUNK])
    await storage.begin(*beginning(upload, len(CONTENT)))
    assert await storage.receipts(upload) == [receipt]


async def test_receipts_come_in_the_order_of_the_file(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    for offset in (2 * CHUNK, 0, CHUNK):
        await put(storage, upload, offset, CONTENT[offset : offset + CHUNK])
    assert [receipt.offset for receipt in await storage.receipts(upload)] == [0, CHUNK, 2 * CHUNK]


async def test_the_same_bytes_again_give_the_same_receipt(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    first = await put(storage, upload, 0, CONTENT[:CHUNK])
    assert await put(storage, upload, 0, CONTENT[:CHUNK]) == first
    assert await storage.receipts(upload) == [first]


async def test_other_bytes_are_a_conflict_and_change_nothing(
    storage: Storage, upload: UploadKey, target: ObjectKey
) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    await put_all(storage, upload, CONTENT)
    with pytest.raises(ChunkConflict):
        await put(storage, upload, 0, random_bytes(CHUNK, seed=2))
    await seal(storage, upload, target, CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_fewer_of_the_same_bytes_are_a_conflict(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    await put(storage, upload, 0, CONTENT[:CHUNK])
    with pytest.raises(ChunkConflict):
        await put(storage, upload, 0, CONTENT[: CHUNK - 1], length=CHUNK)


@pytest.mark.parametrize("offset", [CHUNK - 1, CHUNK + 1])
async def test_bytes_that_overlap_stored_ones_are_a_conflict(storage: Storage, upload: UploadKey, offset: int) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    await put(storage, upload, CHUNK, CONTENT[CHUNK : 2 * CHUNK])
    body = Body(CONTENT[offset : offset + 10])
    with pytest.raises(ChunkConflict):
        await storage.write(upload, Segment(offset, 10), body)
    assert not body.started


async def test_segments_are_written_in_parallel(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    held = Body(CONTENT[:CHUNK], hold_at=0)
    first = asyncio.create_task(storage.write(upload, Segment(0, CHUNK), held))
    await held.held.wait()
    rest = range(CHUNK, len(CONTENT), CHUNK)
    await asyncio.gather(*(put(storage, upload, offset, CONTENT[offset : offset + CHUNK]) for offset in rest))
    held.go_on.set()
    await first
    await seal(storage, upload, target, CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_two_writers_of_the_same_bytes_both_succeed(open_another: OpenStorage, upload: UploadKey) -> None:
    one, other = open_another(), open_another()
    await one.begin(*beginning(upload, CHUNK))
    receipts = await asyncio.gather(*(put(storage, upload, 0, CONTENT[:CHUNK]) for storage in (one, other, one, other)))
    assert set(receipts) == {receipt_of(0, CONTENT[:CHUNK])}
    assert await other.receipts(upload) == receipts[:1]


async def test_of_two_writers_of_different_bytes_one_wins_whole(
    open_another: OpenStorage, upload: UploadKey, target: ObjectKey
) -> None:
    one, other = open_another(), open_another()
    contents = [random_bytes(CHUNK, seed) for seed in (2, 3)]
    await one.begin(*beginning(upload, CHUNK))
    outcomes = await asyncio.gather(
        put(one, upload, 0, contents[0]), put(other, upload, 0, contents[1]), return_exceptions=True
    )
    won = [content for content, outcome in zip(contents, outcomes, strict=True) if outcome == receipt_of(0, content)]
    assert len(won) == 1
    assert [type(outcome) for outcome in outcomes].count(ChunkConflict) == 1
    await seal(one, upload, target, won[0])
    assert await content_of(one, target, CHUNK) == won[0]


async def test_a_body_is_not_read_before_the_segment_is_held(open_another: OpenStorage, upload: UploadKey) -> None:
    storage = open_another(chunk_lock_wait=0.05)
    await storage.begin(*beginning(upload, CHUNK))
    held, second = Body(CONTENT[:CHUNK], hold_at=PART), Body(CONTENT[:CHUNK])
    first = asyncio.create_task(storage.write(upload, Segment(0, CHUNK), held))
    await held.held.wait()
    with pytest.raises(ChunkBusy):
        await storage.write(upload, Segment(0, CHUNK), second)
    assert not second.started
    held.go_on.set()
    assert await first == receipt_of(0, CONTENT[:CHUNK])


async def test_a_second_writer_waits_for_the_first(open_another: OpenStorage, upload: UploadKey) -> None:
    one, other = open_another(), open_another()
    await one.begin(*beginning(upload, CHUNK))
    held = Body(CONTENT[:CHUNK], hold_at=PART)
    first = asyncio.create_task(one.write(upload, Segment(0, CHUNK), held))
    await held.held.wait()
    second = asyncio.create_task(put(other, upload, 0, CONTENT[:CHUNK]))
    held.go_on.set()
    assert await first == await second


async def test_a_body_that_breaks_off_leaves_no_receipt(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    await storage.begin(*beginning(upload, CHUNK))
    with pytest.raises(Cut):
        await storage.write(upload, Segment(0, CHUNK), Body(CONTENT[:CHUNK], cut_after=PART))
    assert await storage.receipts(upload) == []
    other = random_bytes(CHUNK, seed=2)
    await put(storage, upload, 0, other)
    await seal(storage, upload, target, other)
    assert await content_of(storage, target, CHUNK) == other


async def test_a_cancelled_write_leaves_no_receipt_and_holds_nothing(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, CHUNK))
    held = Body(CONTENT[:CHUNK], hold_at=PART)
    writing = asyncio.create_task(storage.write(upload, Segment(0, CHUNK), held))
    await held.held.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await storage.receipts(upload) == []
    assert await put(storage, upload, 0, CONTENT[:CHUNK]) == receipt_of(0, CONTENT[:CHUNK])


async def test_an_unknown_upload_is_not_here(storage: Storage, upload: UploadKey) -> None:
    body = Body(CONTENT[:CHUNK])
    with pytest.raises(FileNotFoundError):
        await storage.write(upload, Segment(0, CHUNK), body)
    assert not body.started
    with pytest.raises(FileNotFoundError):
        await storage.receipts(upload)
    assert await storage.last_activity(upload) is None


async def test_another_tenant_does_not_have_the_upload(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, CHUNK))
    foreign = UploadKey("other", upload.upload_id)
    with pytest.raises(FileNotFoundError):
        await put(storage, foreign, 0, CONTENT[:CHUNK])
    await storage.abort(foreign)
    assert await storage.receipts(upload) == []


async def test_an_aborted_upload_is_gone(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    await put_all(storage, upload, CONTENT)
    await storage.abort(upload)
    with pytest.raises(FileNotFoundError):
        await storage.receipts(upload)
    with pytest.raises(FileNotFoundError):
        await put(storage, upload, 0, CONTENT[:CHUNK])


async def test_aborting_twice_or_nothing_at_all_is_fine(storage: Storage, upload: UploadKey) -> None:
    await storage.abort(upload)
    await storage.begin(*beginning(upload, CHUNK))
    await storage.abort(upload)
    await storage.abort(upload)


@pytest.mark.parametrize("hold_at", [0, PART, CHUNK])
async def test_an_abort_ends_a_write_under_way(open_another: OpenStorage, upload: UploadKey, hold_at: int) -> None:
    one, other = open_another(), open_another()
    await one.begin(*beginning(upload, CHUNK))
    held = Body(CONTENT[:CHUNK], hold_at=hold_at)
    writing = asyncio.create_task(one.write(upload, Segment(0, CHUNK), held))
    await held.held.wait()
    await other.abort(upload)
    held.go_on.set()
    with pytest.raises(FileNotFoundError):
        await writing
    with pytest.raises(FileNotFoundError):
        await one.receipts(upload)


async def test_a_write_of_an_aborted_upload_leaves_no_receipt_in_the_next(storage: Storage, upload: UploadKey) -> None:
    await storage.begin(*beginning(upload, CHUNK))
    held = Body(CONTENT[:CHUNK], hold_at=CHUNK)
    writing = asyncio.create_task(storage.write(upload, Segment(0, CHUNK), held))
    await held.held.wait()
    await storage.abort(upload)
    await storage.begin(*beginning(upload, CHUNK))
    held.go_on.set()
    with pytest.raises(FileNotFoundError):
        await writing
    assert await storage.receipts(upload) == []


async def test_activity_is_when_bytes_came_last(storage: Storage, upload: UploadKey) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)  # clocks of file systems are coarse
    await storage.begin(*beginning(upload, CHUNK))
    await put(storage, upload, 0, CONTENT[:CHUNK])
    last = await storage.last_activity(upload)
    assert last is not None
    assert before <= last <= datetime.now(UTC) + timedelta(seconds=1)


async def test_a_storage_with_room_is_writable(storage: Storage) -> None:
    await storage.check_writable()
