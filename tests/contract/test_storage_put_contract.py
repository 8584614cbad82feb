"""What every storage does with a small upload that is stored in one go."""

import pytest
from awscrt.checksums import crc64nvme

from common.errors import ChunkConflict
from common.storage.base import ObjectKey, Receipt, Storage, UploadKey, Whole
from tests.contract.conftest import OpenStorage
from tests.contract.storage_parts import beginning, content_of, random_bytes, receipt_of, seal

CONTENT = random_bytes(3000)


async def put_whole(storage: Storage, upload: UploadKey, content: bytes = CONTENT) -> Receipt:
    batch = [content[start : start + 1000] for start in range(0, len(content), 1000)]
    (receipt,) = await storage.put([Whole(*beginning(upload, len(content)), batch, crc64nvme(content))])
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


async def test_an_abort_leaves_nothing_of_it(storage: Storage, upload: UploadKey) -> None:
    await put_whole(storage, upload)
    await storage.abort(upload)
    with pytest.raises(FileNotFoundError):
        await storage.receipts(upload)
