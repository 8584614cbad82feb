"""Puts of the local storage: one file from the start, whole or not there, also after a crash or on a full disk."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import InsufficientStorage, StorageUnavailable
from common.storage.base import Receipt, Storage, UploadKey
from common.storage.durable import write_at
from common.storage.layout import Layout, UploadPaths
from tests.contract.storage_parts import random_bytes, receipt_of, whole_of
from tests.unit.common.storage.conftest import OpenLocal
from tests.unit.common.storage.test_local_seal import Crash, CrashAt

CONTENT = random_bytes(3000)
WHOLE = receipt_of(0, CONTENT)


async def put_whole(storage: Storage, upload: UploadKey) -> Receipt | Exception:
    (outcome,) = await storage.put([whole_of(upload, CONTENT)])
    return outcome


def fails(error: int, *, when: Callable[[int], bool] = lambda _: True) -> Callable[[int], None]:
    """An `os.fsync` that fails for descriptors of which `when` is true."""
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if when(descriptor):
            raise OSError(error, os.strerror(error))
        fsync(descriptor)

    return failing


async def test_it_is_one_file_that_nobody_may_change(opened: OpenLocal, upload: UploadKey, paths: UploadPaths) -> None:
    assert await put_whole(opened(), upload) == WHOLE
    assert list(paths.folder.parent.iterdir()) == [paths.whole]
    assert paths.whole.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_put_that_was_killed_leaves_all_or_nothing_and_an_abort_removes_it(
    opened: OpenLocal, root: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    for number in range(100):
        upload = UploadKey("default", f"upload-{number}")
        paths = Layout(root).upload(upload)
        crash = CrashAt(number, when)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda *_, **__: None)  # a kill lets nobody tidy up
            crash.install(patch)
            patch.setattr(os, "rename", crash._around(os.rename))
            try:
                await put_whole(opened(durability="chunk"), upload)
            except Crash:
                assert not paths.whole.exists() or paths.whole.read_bytes() == CONTENT
        storage = opened(durability="chunk")
        left = list(paths.folder.parent.glob(f"{upload.upload_id}*"))
        listed = {key async for batch in storage.uploads() for key in batch}
        assert (upload in listed) == bool(left)
        await storage.abort(upload)
        assert list(paths.folder.parent.glob(f"*{upload.upload_id}*")) == []
        if not crash.happened:
            assert number > 3
            return
    pytest.fail("the put never came to its end")


async def test_of_many_only_those_that_have_no_room_are_refused(
    opened: OpenLocal, upload: UploadKey, paths: UploadPaths, monkeypatch: pytest.MonkeyPatch
) -> None:

    def full(descriptor: int, batch: Any, offset: int) -> None:
        if sum(map(len, batch)) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_at(descriptor, batch, offset)

    monkeypatch.setattr("common.storage.onefile.write_at", full)
    other = UploadKey("default", "upload-2")

    refused, stored = await opened().put([whole_of(upload, CONTENT), whole_of(other, b"small")])

    assert isinstance(refused, InsufficientStorage)
    assert stored == receipt_of(0, b"small")
    assert [path.name for path in paths.folder.parent.iterdir()] == ["upload-2.whole"]


async def test_what_must_stay_free_is_not_given_away(opened: OpenLocal, upload: UploadKey, paths: UploadPaths) -> None:
    assert isinstance(await put_whole(opened(min_free_bytes=2**60), upload), InsufficientStorage)
    assert list(paths.folder.parent.iterdir()) == []


async def test_a_sync_that_fails_stores_nothing(
    opened: OpenLocal, upload: UploadKey, paths: UploadPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened(durability="chunk")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails(errno.EIO, when=lambda fd: os.fstat(fd).st_size == len(CONTENT)))
        assert isinstance(await put_whole(storage, upload), StorageUnavailable)
    assert list(paths.folder.parent.iterdir()) == []


async def test_a_name_that_cannot_be_made_durable_is_not_acknowledged(
    opened: OpenLocal, upload: UploadKey, paths: UploadPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened(durability="chunk")
    await put_whole(storage, UploadKey("default", "first"))  # its folders are durable now

    def failing(folder: Path) -> None:
        raise OSError(errno.EIO, folder.name)

    monkeypatch.setattr("common.storage.onefile.sync_folder", failing)
    assert isinstance(await put_whole(storage, upload), StorageUnavailable)


async def test_everything_is_durable_before_it_is_acknowledged(
    opened: OpenLocal, upload: UploadKey, paths: UploadPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, paths.whole.exists()))
        fsync(descriptor)

    storage = opened(durability="chunk")
    await put_whole(storage, UploadKey("default", "first"))
    monkeypatch.setattr(os, "fsync", recording)
    await put_whole(storage, upload)
    assert synced == [(paths.coming.name, False), ("uploads", True)]
