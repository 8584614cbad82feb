"""What every storage does with a small upload that is stored in one go."""

import asyncio

import pytest
from uuid_utils import uuid7

from common.errors import ChunkConflict, FileDigestMismatch
from common.storage import OpenStorage as AnyStorage
from common.storage.base import ObjectKey, Receipt, SealedObject, Storage, UploadKey, Verify
from common.storage.local import LocalStorage
from tests.contract.conftest import OpenStorage
from tests.contract.storage_parts import (
    Watcher,
    beginning,
    content_of,
    digests_of,
    random_bytes,
    receipt_of,
    seal,
    whole_of,
)

CONTENT = random_bytes(3000)


def new_upload() -> UploadKey:
    return UploadKey("default", str(uuid7()))


async def put_whole(storage: Storage, upload: UploadKey, content: bytes = CONTENT) -> Receipt:
    (receipt,) = await storage.put([whole_of(upload, content)])
    if isinstance(receipt, Exception):
        raise receipt
    return receipt


async def test_it_answers_with_the_receipt_of_all_bytes(storage: Storage, upload: UploadKey) -> None:
    receipt = await put_whole(storage, upload)
    assert receipt == receipt_of(0, CONTENT)
    assert await storage.receipts(upload) == [receipt]


async def test_another_process_sees_it_and_seals_it(
    storage: Storage, open_another: OpenStorage, upload: UploadKey, target: ObjectKey
) -> None:
    receipt = await put_whole(storage, upload)
    other = open_another()
    sealed = await seal(other, upload, target, CONTENT, whole=receipt)
    assert sealed.size == len(CONTENT)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_an_empty_upload_has_nothing_to_prove(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    receipt = await put_whole(storage, upload, b"")
    assert receipt == Receipt(0, 0, 0)
    assert await storage.receipts(upload) == []
    assert (await seal(storage, upload, target, b"", whole=receipt)).size == 0


async def test_the_same_bytes_again_change_nothing(storage: Storage, upload: UploadKey) -> None:
    receipt = await put_whole(storage, upload)
    assert await put_whole(storage, upload) == receipt
    assert await storage.receipts(upload) == [receipt]


async def test_other_bytes_are_a_conflict(storage: Storage, upload: UploadKey) -> None:
    receipt = await put_whole(storage, upload)
    with pytest.raises(ChunkConflict):
        await put_whole(storage, upload, CONTENT[::-1])
    assert await storage.receipts(upload) == [receipt]


async def test_a_seal_that_comes_before_the_bytes_finds_nothing_and_harms_nothing(
    storage: Storage, upload: UploadKey, target: ObjectKey
) -> None:
    """A ring of the sweep, while a slow store still takes them."""
    if not isinstance(storage, LocalStorage):  # there nothing is begun before the bytes
        await storage.begin(*beginning(upload, len(CONTENT)))
    with pytest.raises(FileNotFoundError):
        await seal(storage, upload, target, CONTENT, whole=receipt_of(0, CONTENT))
    receipt = await put_whole(storage, upload)
    assert (await seal(storage, upload, target, CONTENT, whole=receipt)).size == len(CONTENT)


async def test_an_abort_leaves_nothing_of_it(storage: Storage, upload: UploadKey) -> None:
    await put_whole(storage, upload)
    await storage.abort(upload)
    with pytest.raises(FileNotFoundError):
        await storage.receipts(upload)


async def test_none_is_none(storage: Storage) -> None:
    assert await storage.put([]) == []


async def test_of_many_each_has_its_own_receipt(storage: Storage) -> None:
    contents = {new_upload(): random_bytes(100 + seed, seed) for seed in range(5)}
    receipts = await storage.put([whole_of(upload, content) for upload, content in contents.items()])
    assert receipts == [receipt_of(0, content) for content in contents.values()]
    for upload, content in contents.items():
        target = ObjectKey(upload.tenant, upload.upload_id)
        await seal(storage, upload, target, content, whole=receipt_of(0, content))
        assert await content_of(storage, target, len(content)) == content


async def test_one_that_is_refused_costs_the_others_nothing(storage: Storage, upload: UploadKey) -> None:
    before, after = new_upload(), new_upload()
    known = await put_whole(storage, upload)
    first, refused, last = await storage.put(
        [whole_of(before, CONTENT), whole_of(upload, CONTENT[::-1]), whole_of(after, CONTENT)]
    )
    assert isinstance(refused, ChunkConflict)
    assert (first, last) == (receipt_of(0, CONTENT), receipt_of(0, CONTENT))
    for key in (before, upload, after):
        assert await storage.receipts(key) == [known]


async def test_it_is_listed_until_it_is_sealed_or_aborted(
    storage: AnyStorage, upload: UploadKey, target: ObjectKey
) -> None:
    aborted = new_upload()
    for key in (upload, aborted):
        await put_whole(storage, key)
    assert await listed(storage) == {upload, aborted}
    await seal(storage, upload, target, CONTENT, whole=receipt_of(0, CONTENT))
    for key in (upload, aborted):
        await storage.abort(key)
    assert await listed(storage) == set()
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def listed(storage: AnyStorage) -> set[UploadKey]:
    return {key async for batch in storage.uploads() for key in batch}


async def test_sealing_again_gives_the_same_answer(
    open_another: OpenStorage, upload: UploadKey, target: ObjectKey
) -> None:
    receipt = await put_whole(open_another(), upload)
    first = await seal(open_another(), upload, target, CONTENT, whole=receipt)
    assert first == SealedObject(target, len(CONTENT), digests_of(CONTENT), "read")
    assert await seal(open_another(), upload, target, CONTENT, whole=receipt) == first
    assert await content_of(open_another(), target, len(CONTENT)) == CONTENT


async def test_two_seals_at_once_give_the_same_answer(
    open_another: OpenStorage, upload: UploadKey, target: ObjectKey
) -> None:
    receipt = await put_whole(open_another(), upload)
    one, other = await asyncio.gather(*(seal(open_another(), upload, target, CONTENT, whole=receipt) for _ in range(2)))
    assert one == other
    assert await content_of(open_another(), target, len(CONTENT)) == CONTENT


async def test_trusted_receipts_give_the_same_checksum(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    receipt = await put_whole(storage, upload)
    sealed = await seal(storage, upload, target, CONTENT, verify="receipts", whole=receipt)
    assert sealed == SealedObject(target, len(CONTENT), {"crc64nvme": digests_of(CONTENT)["crc64nvme"]}, "receipts")


@pytest.mark.parametrize("verify", ["read", "receipts"])
@pytest.mark.parametrize("algorithm", ["sha-256", "crc64nvme"])
async def test_another_declared_digest_is_named_and_the_right_one_seals(
    storage: Storage, upload: UploadKey, target: ObjectKey, algorithm: str, verify: Verify
) -> None:
    receipt = await put_whole(storage, upload)
    right = digests_of(CONTENT)
    wrong = {**right, algorithm: bytes(len(right[algorithm]))}
    with pytest.raises(FileDigestMismatch) as mismatch:
        await seal(storage, upload, target, CONTENT, declared=wrong, verify=verify, whole=receipt)
    assert mismatch.value.extras["algorithms"] == [algorithm]
    sealed = await seal(storage, upload, target, CONTENT, declared=right, verify=verify, whole=receipt)
    assert sealed == SealedObject(target, len(CONTENT), right, "read")


async def test_progress_ends_at_the_size(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    receipt, watcher = await put_whole(storage, upload), Watcher()
    await seal(storage, upload, target, CONTENT, watcher=watcher, whole=receipt)
    assert watcher.seen[-1] == len(CONTENT)


async def test_one_that_is_not_here_cannot_be_sealed(storage: Storage, upload: UploadKey, target: ObjectKey) -> None:
    with pytest.raises(FileNotFoundError):
        await seal(storage, upload, target, CONTENT, whole=receipt_of(0, CONTENT))
