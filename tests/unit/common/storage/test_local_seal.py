"""Seals of the local storage: crashes at every step, late writers, damage below, failing syncs."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import ChunksDamaged, StorageUnavailable
from common.storage import locks as locks_module
from common.storage import seal as seal_module
from common.storage import writing as writing_module
from common.storage.base import ObjectKey, Receipt, SealPlan, SealWatch, Segment, UploadKey, Verify
from common.storage.durable import Folders
from common.storage.layout import Layout, UploadPaths
from common.storage.receipts import Ledger
from common.storage.seal import Sealing
from tests.contract.storage_parts import (
    CHUNK,
    Body,
    beginning,
    content_of,
    digests_of,
    put,
    put_all,
    random_bytes,
    seal,
)
from tests.unit.common.storage.conftest import OpenLocal

STEPS = [(os, "fsync"), (os, "fdatasync"), (os, "fchmod"), (Path, "rename"), (Path, "unlink"), (Path, "mkdir")]


class Crash(BaseException):
    """The process died here. Nothing catches it, as nothing catches a kill."""


class CrashAt:
    """Crashes just before or just after the n-th step that touches the disk."""

    def __init__(self, number: int, when: str) -> None:
        self.happened = False
        self._left = number
        self._when = when

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for owner, name in STEPS:
            patch.setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def around(*args: Any, **kwargs: Any) -> Any:
            due = self._left == 0 and not self.happened
            self._left -= 1
            self.happened = self.happened or due
            if due and self._when == "before":
                raise Crash
            result = step(*args, **kwargs)
            if due:
                raise Crash
            return result

        return around


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_seal_that_crashed_at_any_step_is_finished_by_the_next(
    opened: OpenLocal, root: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    for number in range(100):
        upload, target = UploadKey("default", f"upload-{number}"), ObjectKey("default", f"file-{number}")
        storage = opened(durability="chunk")
        await storage.begin(*beginning(upload, len(content)))
        await put_all(storage, upload, content)
        crash = CrashAt(number, when)
        with monkeypatch.context() as patch:
            crash.install(patch)
            try:
                sealed = await seal(storage, upload, target, content)
            except Crash:
                sealed = await seal(opened(durability="chunk"), upload, target, content)
        assert sealed.digests == digests_of(content)
        assert await content_of(storage, target, len(content)) == content
        assert Layout(root).file(target).stat().st_mode & 0o777 == 0o444
        if not crash.happened:
            assert number > 5
            return
    pytest.fail("the seal never came to its end")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_damage_is_found_again_after_a_crash_at_any_step(
    opened: OpenLocal, root: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    for number in range(100):
        upload, target = UploadKey("default", f"upload-{number}"), ObjectKey("default", f"file-{number}")
        storage = opened(durability="chunk")
        await storage.begin(*beginning(upload, len(content)))
        await put_all(storage, upload, content)
        flip(Layout(root).upload(upload).data, 2 * CHUNK)
        crash = CrashAt(number, when)
        with monkeypatch.context() as patch:
            crash.install(patch)
            with pytest.raises((Crash, ChunksDamaged)):
                await seal(storage, upload, target, content)
        with pytest.raises(ChunksDamaged) as damaged:
            await seal(opened(durability="chunk"), upload, target, content)
        assert damaged.value.extras["chunks"] == [2]
        await put(storage, upload, 2 * CHUNK, content[2 * CHUNK : 3 * CHUNK])
        assert (await seal(storage, upload, target, content)).digests == digests_of(content)
        if not crash.happened:
            assert number > 3
            return
    pytest.fail("the seal never came to its end")


async def test_a_writer_that_opened_before_the_rename_cannot_write_into_the_file(
    opened: OpenLocal,
    root: Path,
    received: UploadKey,
    target: ObjectKey,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = opened()
    share = locks_module.share

    def sealed_meanwhile(descriptor: int) -> bool:
        paths = Layout(root).upload(received)
        Sealing(
            paths,
            Layout(root).file(target),
            SealPlan(target, len(content), CHUNK),
            SealWatch(lambda _: None, threading.Event()),
            ledger=Ledger(paths.folder),
            folders=Folders(root),
            durability="none",
        ).run()
        return share(descriptor)

    monkeypatch.setattr(writing_module, "share", sealed_meanwhile)
    body = Body(random_bytes(CHUNK, seed=2))
    with pytest.raises(FileNotFoundError):
        await storage.write(received, Segment(0, CHUNK), body)
    assert not body.started
    assert await content_of(storage, target, len(content)) == content


async def test_a_seal_waits_for_writers_and_comes_again(
    opened: OpenLocal,
    paths: UploadPaths,
    received: UploadKey,
    target: ObjectKey,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seal_module, "LOCK_WAIT", 0.1)
    with paths.data.open("r+b") as writer:
        assert locks_module.share(writer.fileno())
        with pytest.raises(StorageUnavailable):
            await seal(opened(), received, target, content)
    await seal(opened(), received, target, content)


async def test_two_receipts_for_one_segment_are_damage(
    opened: OpenLocal, paths: UploadPaths, received: UploadKey, target: ObjectKey, content: bytes
) -> None:
    Ledger(paths.folder).append(Receipt(CHUNK, CHUNK, 12345), durable=False)
    storage = opened()
    with pytest.raises(ChunksDamaged) as damaged:
        await seal(storage, received, target, content)
    assert damaged.value.extras["chunks"] == [1]
    assert [receipt.offset for receipt in await storage.receipts(received)] == [0, 2 * CHUNK, 3 * CHUNK]


@pytest.mark.parametrize("verify", ["read", "receipts"])
async def test_data_that_is_shorter_than_its_receipts_is_damage(
    opened: OpenLocal, paths: UploadPaths, received: UploadKey, target: ObjectKey, content: bytes, verify: Verify
) -> None:
    os.truncate(paths.data, 2 * CHUNK + 1)
    with pytest.raises(ChunksDamaged) as damaged:
        await seal(opened(), received, target, content, verify=verify)
    assert damaged.value.extras["chunks"] == [2, 3]


async def test_a_failed_sync_at_seal_asks_for_every_chunk_again(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened(durability="finalize")
    fsync, calls = os.fsync, []

    def failing(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(errno.EIO, "sync failed")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(ChunksDamaged) as damaged:
            await seal(storage, received, target, content)
    assert damaged.value.extras["chunks"] == [0, 1, 2, 3]
    assert await storage.receipts(received) == []
    await put_all(storage, received, content)
    assert (await seal(storage, received, target, content)).digests == digests_of(content)


@pytest.mark.parametrize("durability", ["chunk", "finalize"])
async def test_data_and_names_are_synced_at_seal(
    opened: OpenLocal,
    published: Path,
    received: UploadKey,
    target: ObjectKey,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
    durability: str,
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    await seal(opened(durability=durability), received, target, content)
    assert synced[0] == "data"
    assert synced[-2:] == [published.parent.name, received.upload_id]


async def test_without_durability_nothing_is_synced(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: int) -> None:
        pytest.fail("synced")

    monkeypatch.setattr(os, "fsync", never)
    monkeypatch.setattr(os, "fdatasync", never)
    storage = opened(durability="none")
    await seal(storage, received, target, content)
    await storage.delete(target)


async def test_a_file_that_went_bad_before_it_was_recorded_is_an_upload_again(
    opened: OpenLocal, published: Path, received: UploadKey, target: ObjectKey, content: bytes
) -> None:
    storage = opened()
    await seal(storage, received, target, content)
    flip(published, CHUNK)
    with pytest.raises(ChunksDamaged) as damaged:
        await seal(storage, received, target, content)
    assert damaged.value.extras["chunks"] == [1]
    with pytest.raises(FileNotFoundError):
        await storage.read(target, 0, 1)
    await put(storage, received, CHUNK, content[CHUNK : 2 * CHUNK])
    assert (await seal(storage, received, target, content)).digests == digests_of(content)
    assert await content_of(storage, target, len(content)) == content


async def test_data_beside_a_target_is_what_counts(
    opened: OpenLocal, published: Path, received: UploadKey, target: ObjectKey, content: bytes
) -> None:
    make_file(published, b"something else")
    storage = opened()
    await seal(storage, received, target, content)
    assert await content_of(storage, target, len(content)) == content


async def test_a_failing_disk_is_no_damage(
    opened: OpenLocal, received: UploadKey, target: ObjectKey, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> int:
        raise OSError(errno.EIO, "cannot read")

    storage = opened()
    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", failing)
        with pytest.raises(StorageUnavailable):
            await seal(storage, received, target, content)
    assert len(await storage.receipts(received)) == 4


def make_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def flip(path: Path, offset: int) -> None:
    path.chmod(0o640)
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
