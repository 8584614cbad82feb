"""Parts put together by the kernel: what a crash leaves is gone on with, and file systems that cannot are no end."""

import errno
import os

import pytest

from common.errors import StorageUnavailable, TooManyAppends
from common.storage import writing
from common.storage.base import ObjectKey, Segment, UploadKey
from tests.contract.storage_parts import Body, Watcher, beginning, random_bytes, seal
from tests.unit.common.storage.conftest import OpenLocal

PARTS = [random_bytes(size, size) for size in (70_001, 1, 130_000)]
WHOLE = b"".join(PARTS)


@pytest.fixture
async def parts(opened: OpenLocal, upload: UploadKey) -> list[tuple[UploadKey, int]]:
    """Three partial uploads, and the empty one that they go into."""
    storage = opened()
    made = []
    for number, content in enumerate(PARTS):
        key = UploadKey(upload.tenant, f"0190000-part-{number}")
        await storage.begin(*beginning(key, len(content)))
        await storage.append(key, Segment(0, len(content)), Body(content))
        made.append((key, len(content)))
    await storage.begin(*beginning(upload, len(WHOLE)))
    return made


@pytest.mark.parametrize("call", range(3))
async def test_after_a_crash_the_next_run_goes_on(
    opened: OpenLocal,
    upload: UploadKey,
    target: ObjectKey,
    parts: list[tuple[UploadKey, int]],
    monkeypatch: pytest.MonkeyPatch,
    call: int,
) -> None:
    storage, copied = opened(), 0
    real = os.copy_file_range

    def dying(*arguments: int) -> int:
        nonlocal copied
        copied += 1
        if copied == call + 1:
            raise OSError(errno.EIO, "pulled out")
        return real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, "copy_file_range", dying)
        with pytest.raises(StorageUnavailable):
            await storage.concatenate(upload, parts, Watcher().watch)
    await opened().concatenate(upload, parts, Watcher().watch)
    sealed = await seal(storage, upload, target, WHOLE)
    assert sealed.size == len(WHOLE)


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
async def test_where_the_kernel_cannot_copy_between_files_it_sends(
    opened: OpenLocal,
    upload: UploadKey,
    target: ObjectKey,
    parts: list[tuple[UploadKey, int]],
    monkeypatch: pytest.MonkeyPatch,
    reason: int,
) -> None:
    def unable(*arguments: int) -> int:
        raise OSError(reason, "not here")

    monkeypatch.setattr(os, "copy_file_range", unable)
    storage = opened()
    await storage.concatenate(upload, parts, Watcher().watch)
    assert (await seal(storage, upload, target, WHOLE)).size == len(WHOLE)


async def test_each_part_is_one_receipt_however_many_appends_made_it(
    opened: OpenLocal, upload: UploadKey, parts: list[tuple[UploadKey, int]]
) -> None:
    storage = opened()
    await storage.append(parts[1][0], Segment(1, 1), Body(b"x"))
    parts[1] = (parts[1][0], 2)
    twice = parts * 2
    await storage.concatenate(upload, twice, Watcher().watch)
    assert [receipt.length for receipt in await storage.receipts(upload)] == [size for _, size in twice]


async def test_an_upload_of_too_many_appends_takes_no_more(
    opened: OpenLocal, upload: UploadKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_APPENDS", 3)
    storage = opened()
    await storage.begin(*beginning(upload, None))
    for offset in range(3):
        await storage.append(upload, Segment(offset, 1), Body(b"x"))
    with pytest.raises(TooManyAppends):
        await storage.append(upload, Segment(3, 1), Body(b"x"))
    assert await storage.end(upload) == 3
