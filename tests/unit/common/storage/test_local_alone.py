"""What only a disk can promise: the end of its room is known, and an abort is seen at once."""

import asyncio
import time

import pytest

from common.errors import InsufficientStorage
from common.storage.base import ObjectKey, Segment, UploadKey
from tests.contract.storage_parts import CHUNK, Body, beginning, put, put_all, random_bytes, seal
from tests.unit.common.storage.conftest import OpenLocal

CONTENT = random_bytes(CHUNK)
PART = CHUNK // 2


async def test_beginning_without_room_for_the_size_is_refused(opened: OpenLocal, upload: UploadKey) -> None:
    storage = opened()
    needed = 1 << 60
    with pytest.raises(InsufficientStorage) as refused:
        await storage.begin(*beginning(upload, needed))
    assert refused.value.extras == {"needed_bytes": needed}  # how much there is is not the caller's business
    with pytest.raises(FileNotFoundError):
        await storage.receipts(upload)


async def test_a_body_is_not_read_to_its_end_after_an_abort(opened: OpenLocal, upload: UploadKey) -> None:
    storage = opened()
    await storage.begin(*beginning(upload, CHUNK))
    held = Body(CONTENT[:CHUNK], batch=CHUNK // 16, hold_at=PART)
    writing = asyncio.create_task(storage.write(upload, Segment(0, CHUNK), held))
    await held.held.wait()
    await storage.abort(upload)
    held.go_on.set()
    with pytest.raises(FileNotFoundError):
        await writing
    assert held.length < CHUNK


async def test_ten_thousand_small_chunks_take_bounded_time(
    opened: OpenLocal, upload: UploadKey, target: ObjectKey
) -> None:
    one, other = opened(), opened()
    content = random_bytes(10_000 * 16)
    await one.begin(*beginning(upload, len(content)))
    begun = time.monotonic()
    await put_all(one, upload, content[: len(content) // 2], chunk=16)
    half = time.monotonic() - begun
    for offset in range(len(content) // 2, len(content), 16):
        await put(other, upload, offset, content[offset : offset + 16])
    second_half = time.monotonic() - begun - half
    assert len(await one.receipts(upload)) == 10_000
    sealed = await seal(other, upload, target, content, chunk=16)
    assert sealed.size == len(content)
    assert second_half < 5 * half  # quadratic would be far above; the rest is room for a busy machine
