"""Seals of uploads that are one file: crashes at every step, damage, lost leases, and many at once."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import ChunksDamaged, LeaseLost
from common.storage.base import ObjectKey, SealPlan, SealWatch, UploadKey, Verify
from common.storage.layout import Layout, UploadPaths
from common.storage.local import LocalStorage
from common.storage.together import Sealed, Small
from tests.contract.storage_parts import content_of, digests_of, put_all, random_bytes, receipt_of, seal, whole_of
from tests.unit.common.storage.conftest import OpenLocal
from tests.unit.common.storage.test_local_seal import Crash, CrashAt
from tests.unit.common.storage.test_one_file_puts import fails

CONTENT = random_bytes(3000)
WHOLE = receipt_of(0, CONTENT)


async def put_whole(storage: LocalStorage, *uploads: UploadKey) -> None:
    assert await storage.put([whole_of(upload, CONTENT) for upload in uploads]) == [WHOLE] * len(uploads)


def small_of(upload: UploadKey, target: ObjectKey, **watch: Any) -> Small:
    """How a worker asks for it."""
    plan = SealPlan(target, len(CONTENT), 65536, {}, whole=WHOLE)
    return Small(upload, plan, SealWatch(lambda _: None, threading.Event(), **watch))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_seal_that_crashed_at_any_step_is_finished_by_the_next(
    opened: OpenLocal, root: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    for number in range(100):
        upload, target = UploadKey("default", f"upload-{number}"), ObjectKey("default", f"file-{number}")
        storage = opened(durability="chunk")
        await put_whole(storage, upload)
        crash = CrashAt(number, when)
        with monkeypatch.context() as patch:
            crash.install(patch)
            try:
                sealed = await seal(storage, upload, target, CONTENT, whole=WHOLE)
            except Crash:
                sealed = await seal(opened(durability="chunk"), upload, target, CONTENT, whole=WHOLE)
        assert sealed.digests == digests_of(CONTENT)
        assert Layout(root).file(target).read_bytes() == CONTENT
        assert not Layout(root).upload(upload).whole.exists()
        if not crash.happened:
            assert number > 3
            return
    pytest.fail("the seal never came to its end")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[77] ^= 1
    rewrite(path, bytes(content))


def cut(path: Path) -> None:
    rewrite(path, path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    rewrite(path, path.read_bytes() + b"x")


def rewrite(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, cut, lengthen])
@pytest.mark.parametrize("verify", ["read", "receipts"])
async def test_damage_is_named_and_the_bytes_can_be_sent_again(
    opened: OpenLocal,
    upload: UploadKey,
    target: ObjectKey,
    paths: UploadPaths,
    damage: Callable[[Path], None],
    verify: Verify,
) -> None:
    storage = opened()
    await put_whole(storage, upload)
    damage(paths.whole)
    with pytest.raises(ChunksDamaged) as damaged:
        await seal(storage, upload, target, CONTENT, verify=verify, whole=WHOLE)
    assert (damaged.value.extras["chunks"], damaged.value.extras["ranges"]) == ([0], [(0, 0)])
    with pytest.raises(FileNotFoundError):
        await storage.read(target, 0, 1)
    assert await storage.receipts(upload) == []
    await put_all(storage, upload, CONTENT)
    await seal(storage, upload, target, CONTENT, verify=verify)
    assert await content_of(storage, target, len(CONTENT)) == CONTENT


async def test_damage_names_every_chunk_that_the_upload_has(
    opened: OpenLocal, upload: UploadKey, target: ObjectKey, paths: UploadPaths
) -> None:
    storage = opened()
    await put_whole(storage, upload)
    flip(paths.whole)
    with pytest.raises(ChunksDamaged) as damaged:
        await seal(storage, upload, target, CONTENT, chunk=1000, whole=WHOLE)
    assert damaged.value.extras["chunks"] == [0, 1, 2]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_damage_is_found_again_after_a_crash_at_any_step(
    opened: OpenLocal, root: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    for number in range(100):
        upload, target = UploadKey("default", f"upload-{number}"), ObjectKey("default", f"file-{number}")
        storage = opened(durability="chunk")
        await put_whole(storage, upload)
        flip(Layout(root).upload(upload).whole)
        crash = CrashAt(number, when)
        with monkeypatch.context() as patch:
            crash.install(patch)
            with pytest.raises((Crash, ChunksDamaged)):
                await seal(storage, upload, target, CONTENT, whole=WHOLE)
        with pytest.raises(ChunksDamaged):
            await seal(opened(durability="chunk"), upload, target, CONTENT, whole=WHOLE)
        await put_all(storage, upload, CONTENT)
        assert (await seal(storage, upload, target, CONTENT)).digests == digests_of(CONTENT)
        if not crash.happened:
            assert number > 1
            return
    pytest.fail("the seal never came to its end")


async def test_a_file_that_rots_before_it_is_published_can_be_sent_again(
    opened: OpenLocal, upload: UploadKey, target: ObjectKey, published: Path
) -> None:
    """The worker died between the seal and the publication, and then the disk went bad."""
    storage = opened()
    await put_whole(storage, upload)
    await seal(storage, upload, target, CONTENT, whole=WHOLE)
    flip(published)
    with pytest.raises(ChunksDamaged):
        await seal(storage, upload, target, CONTENT, whole=WHOLE)
    assert not published.exists()
    await put_all(storage, upload, CONTENT)
    await seal(storage, upload, target, CONTENT)
    assert published.read_bytes() == CONTENT


async def test_bytes_that_cannot_be_synced_at_the_seal_count_as_damaged(
    opened: OpenLocal, upload: UploadKey, target: ObjectKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = opened(durability="finalize")
    await put_whole(storage, upload)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails(errno.EIO, when=lambda fd: os.fstat(fd).st_size == len(CONTENT)))
        with pytest.raises(ChunksDamaged):
            await seal(storage, upload, target, CONTENT, whole=WHOLE)


@pytest.mark.parametrize("damaged", [False, True])
async def test_without_the_lease_nothing_is_moved(
    opened: OpenLocal, upload: UploadKey, target: ObjectKey, paths: UploadPaths, published: Path, damaged: bool
) -> None:
    storage = opened()
    await put_whole(storage, upload)
    if damaged:
        flip(paths.whole)
    (outcome,) = await storage.seal_together([small_of(upload, target, held=lambda: False)])
    assert isinstance(outcome, LeaseLost)
    assert paths.whole.exists()
    assert not published.exists()
    assert not paths.folder.exists()


# --- many at once -------------------------------------------------------------------------------------------


async def many(storage: LocalStorage, count: int) -> list[tuple[UploadKey, ObjectKey]]:
    keys = [
        (UploadKey("default", f"upload-{number}"), ObjectKey("default", f"file-{number}")) for number in range(count)
    ]
    await put_whole(storage, *(upload for upload, _ in keys))
    return keys


async def test_of_many_each_stands_for_itself(opened: OpenLocal, root: Path) -> None:
    storage = opened()
    keys = await many(storage, 4)
    flip(Layout(root).upload(keys[0][0]).whole)
    Layout(root).upload(keys[1][0]).whole.unlink()
    smalls = [small_of(*key) for key in keys[:3]] + [small_of(*keys[3], held=lambda: False)]

    outcomes = await storage.seal_together(smalls)

    assert [type(outcome) for outcome in outcomes] == [ChunksDamaged, FileNotFoundError, Sealed, LeaseLost]
    assert [path.name for path in root.glob("*/files/*/*")] == ["file-2"]


async def test_who_looks_is_shown_the_verified_bytes(opened: OpenLocal) -> None:
    storage = opened()
    upload, target = (await many(storage, 1))[0]
    small = small_of(upload, target)
    (outcome,) = await storage.seal_together([Small(upload, small.plan, small.watch, lambda content: content[:10])])
    assert isinstance(outcome, Sealed)
    assert (outcome.seen, outcome.file.digests) == (CONTENT[:10], digests_of(CONTENT))


async def test_who_stops_one_stops_what_is_not_moved_yet(opened: OpenLocal, root: Path) -> None:
    storage = opened()
    keys = await many(storage, 3)
    stop = threading.Event()
    smalls = [
        Small(upload, small_of(upload, target).plan, SealWatch(lambda _: stop.set(), stop)) for upload, target in keys
    ]
    first, *others = await storage.seal_together(smalls)
    assert isinstance(first, Sealed)
    assert [type(outcome) for outcome in others] == [LeaseLost, LeaseLost]
    assert len(list(root.glob("*/files/*/*"))) == 1
