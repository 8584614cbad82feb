"""What every storage does when an upload becomes a file, and with the file afterwards."""

import asyncio

import pytest

from common.errors import ChunksDamaged, FileDigestMismatch, LeaseLost, UploadNotOpen
from common.storage.base import ObjectKey, SealedObject, Segment, Storage, UploadKey, Verify
from tests.contract.conftest import Damage, OpenStorage
from tests.contract.storage_parts import (
    CHUNK,
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

CONTENT = random_bytes(3 * CHUNK + 1000)
STREAM = random_bytes(200_000)
LARGE = max(CHUNK, 1024 * 1024)


@pytest.fixture
async def received(storage: Storage, upload: UploadKey) -> UploadKey:
    """An upload of CONTENT with all its chunks."""
    await storage.begin(*beginning(upload, len(CONTENT)))
    await put_all(storage, upload, CONTENT)
    return upload


async def test_a_sealed_upload_is_the_file(storage: Storage, received: UploadKey, target: ObjectKey) -> None:
    sealed = await seal(storage, received, target, CONTENT)
    assert sealed == SealedObject(target, len(CONTENT), digests_of(CONTENT), "read")
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_sealing_again_gives_the_same_answer(
    open_another: OpenStorage, received: UploadKey, target: ObjectKey
) -> None:
    first = await seal(open_another(), received, target, CONTENT)
    assert await seal(open_another(), received, target, CONTENT) == first


async def test_two_seals_at_once_give_the_same_answer(
    open_another: OpenStorage, received: UploadKey, target: ObjectKey
) -> None:
    one, other = await asyncio.gather(*(seal(open_another(), received, target, CONTENT) for _ in range(2)))
    assert one == other
    assert await content_of(open_another(), target, len(CONTENT)) == CONTENT


async def test_beginning_again_after_the_seal_changes_nothing(
    storage: Storage, received: UploadKey, target: ObjectKey
) -> None:
    first = await seal(storage, received, target, CONTENT)
    await storage.begin(*beginning(received, len(CONTENT)))
    assert await seal(storage, received, target, CONTENT) == first


async def test_an_empty_file_is_a_file(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    await storage.begin(*beginning(upload, 0))
    sealed = await seal(storage, upload, target, b"")
    assert sealed == SealedObject(target, 0, digests_of(b""), "read")
    assert await content_of(storage, target, 0) == b""


async def test_a_stream_of_unknown_size_is_sealed_at_its_size(
    storage: Storage, upload: UploadKey, target: ObjectKey
) -> None:
    await storage.begin(*beginning(upload, None))
    receipt = await put(storage, upload, 0, STREAM, length=1 << 40)
    assert receipt == receipt_of(0, STREAM)
    await seal(storage, upload, target, STREAM, chunk=1 << 40)
    assert await content_of(storage, target, len(STREAM)) == STREAM


async def test_what_a_cut_stream_left_behind_its_end_is_no_part_of_the_file(
    storage: Storage, upload: UploadKey, target: ObjectKey
) -> None:
    await storage.begin(*beginning(upload, None))
    with pytest.raises(ConnectionError):
        await storage.write(upload, Segment(0, 1 << 40), Body(STREAM, cut_after=100_000))
    await put(storage, upload, 0, STREAM[:50_000], length=1 << 40)
    await seal(storage, upload, target, STREAM[:50_000], chunk=1 << 40)
    with pytest.raises(Exception):  # noqa: B017, PT011  # there is nothing behind the end
        await content_of(storage, target, 1, start=50_000)
    assert await content_of(storage, target, 50_000) == STREAM[:50_000]


async def test_missing_chunks_are_named(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    await storage.begin(*beginning(upload, len(CONTENT)))
    await put(storage, upload, CHUNK, CONTENT[CHUNK : 2 * CHUNK])
    with pytest.raises(ChunksDamaged) as damaged:
        await seal(storage, upload, target, CONTENT)
    assert damaged.value.extras["chunks"] == [0, 2, 3]
    assert damaged.value.extras["ranges"] == [(0, 0), (2, 3)]


@pytest.mark.parametrize("verify", ["read", "receipts"])
async def test_an_upload_that_is_not_here_cannot_be_sealed(
    storage: Storage, upload: UploadKey, target: ObjectKey, verify: Verify
) -> None:
    with pytest.raises(FileNotFoundError):
        await seal(storage, upload, target, CONTENT, verify=verify)


async def test_a_flipped_bit_names_its_chunk_and_sending_it_again_finishes(
    storage: Storage, received: UploadKey, target: ObjectKey, damage: Damage
) -> None:
    await damage(received, 2 * CHUNK + 77, CONTENT)
    with pytest.raises(ChunksDamaged) as damaged:
        await seal(storage, received, target, CONTENT)
    assert damaged.value.extras["chunks"] == [2]
    assert [receipt.offset for receipt in await storage.receipts(received)] == [0, CHUNK, 3 * CHUNK]
    with pytest.raises(FileNotFoundError):
        await storage.read(target, 0, 1)
    await put(storage, received, 2 * CHUNK, CONTENT[2 * CHUNK : 3 * CHUNK])
    await seal(storage, received, target, CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_every_damaged_chunk_is_named_at_once(
    storage: Storage, received: UploadKey, target: ObjectKey, damage: Damage
) -> None:
    await damage(received, 0, CONTENT)
    await damage(received, len(CONTENT) - 1, CONTENT)
    with pytest.raises(ChunksDamaged) as damaged:
        await seal(storage, received, target, CONTENT)
    assert damaged.value.extras["chunks"] == [0, 3]


@pytest.mark.parametrize("verify", ["read", "receipts"])
@pytest.mark.parametrize("algorithm", ["sha-256", "crc64nvme"])
async def test_another_declared_digest_is_named(
    storage: Storage, received: UploadKey, target: ObjectKey, algorithm: str, verify: Verify
) -> None:
    wrong = {**digests_of(CONTENT), algorithm: bytes(32 if algorithm == "sha-256" else 8)}
    with pytest.raises(FileDigestMismatch) as mismatch:
        await seal(storage, received, target, CONTENT, declared=wrong, verify=verify)
    assert mismatch.value.extras["algorithms"] == [algorithm]


async def test_trusted_receipts_give_the_same_checksum(
    storage: Storage, received: UploadKey, target: ObjectKey
) -> None:
    sealed = await seal(storage, received, target, CONTENT, verify="receipts")
    assert sealed.verified == "receipts"
    assert sealed.digests == {"crc64nvme": digests_of(CONTENT)["crc64nvme"]}


async def test_a_declared_crc_needs_no_reading_where_receipts_are_trusted(
    storage: Storage, received: UploadKey, target: ObjectKey
) -> None:
    declared = {"crc64nvme": digests_of(CONTENT)["crc64nvme"]}
    assert (await seal(storage, received, target, CONTENT, declared=declared, verify="receipts")).verified == "receipts"


async def test_a_declared_sha_256_is_checked_also_where_receipts_are_trusted(
    storage: Storage, received: UploadKey, target: ObjectKey
) -> None:
    sealed = await seal(storage, received, target, CONTENT, declared=digests_of(CONTENT), verify="receipts")
    assert sealed.verified == "read"
    assert sealed.digests == digests_of(CONTENT)


async def test_progress_ends_at_the_size(storage: Storage, received: UploadKey, target: ObjectKey) -> None:
    watcher = Watcher()
    await seal(storage, received, target, CONTENT, watcher=watcher)
    assert watcher.seen == sorted(watcher.seen)
    assert watcher.seen[-1] == len(CONTENT)


async def test_a_stopped_seal_leaves_the_upload_as_it_was(
    storage: Storage, upload: UploadKey, target: ObjectKey
) -> None:
    content = random_bytes(4 * LARGE)
    await storage.begin(*beginning(upload, len(content), LARGE))
    await put_all(storage, upload, content, chunk=LARGE)
    with pytest.raises(LeaseLost):
        await seal(storage, upload, target, content, chunk=LARGE, watcher=Watcher(stop_at=LARGE))
    assert len(await storage.receipts(upload)) == 4
    assert (await seal(storage, upload, target, content, chunk=LARGE)).digests == digests_of(content)


async def test_a_cancelled_seal_stops_reading(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    content = random_bytes(4 * LARGE)
    await storage.begin(*beginning(upload, len(content), LARGE))
    await put_all(storage, upload, content, chunk=LARGE)
    watcher = Watcher()
    sealing = asyncio.create_task(seal(storage, upload, target, content, chunk=LARGE, watcher=watcher))
    await asyncio.sleep(0)
    sealing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sealing
    assert watcher.stop.is_set()
    assert (await seal(storage, upload, target, content, chunk=LARGE)).digests == digests_of(content)


async def test_a_chunk_after_the_seal_is_refused_and_the_file_untouched(
    storage: Storage, received: UploadKey, target: ObjectKey
) -> None:
    await seal(storage, received, target, CONTENT)
    with pytest.raises((FileNotFoundError, UploadNotOpen)):
        await put(storage, received, 0, random_bytes(CHUNK, seed=2))
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_aborting_a_sealed_upload_leaves_the_file(
    storage: Storage, received: UploadKey, target: ObjectKey
) -> None:
    await seal(storage, received, target, CONTENT)
    await storage.abort(received)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


@pytest.mark.parametrize(
    ("start", "length"), [(0, 1), (1000, 5000), (len(CONTENT) - 1, 1), (CHUNK - 1, 2), (0, len(CONTENT)), (7, 0)]
)
async def test_a_range_is_read(
    storage: Storage, received: UploadKey, target: ObjectKey, start: int, length: int
) -> None:
    await seal(storage, received, target, CONTENT)
    assert await content_of(storage, target, length, start) == CONTENT[start : start + length]


async def test_reading_what_is_not_there_fails_at_once(storage: Storage, target: ObjectKey) -> None:
    with pytest.raises(FileNotFoundError):
        await storage.read(target, 0, 1)


async def test_a_file_deleted_while_it_is_read_is_read_to_its_end(
    storage: Storage, upload: UploadKey, target: ObjectKey
) -> None:
    content = random_bytes(3 * LARGE)
    await storage.begin(*beginning(upload, len(content), LARGE))
    await put_all(storage, upload, content, chunk=LARGE)
    await seal(storage, upload, target, content, chunk=LARGE)
    pieces = await storage.read(target, 0, len(content))
    first = await anext(pieces)
    await storage.delete(target)
    assert first + b"".join([piece async for piece in pieces]) == content
    with pytest.raises(FileNotFoundError):
        await storage.read(target, 0, 1)


async def test_deleting_nothing_is_fine(storage: Storage, target: ObjectKey) -> None:
    await storage.delete(target)
