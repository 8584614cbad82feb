"""What is found below the root of a local storage, and the room that open uploads are promised."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from uuid_utils import uuid7

from common.errors import InsufficientStorage
from common.settings import StorageSettings
from common.storage.base import ObjectKey, Segment, UploadKey
from common.storage.inventory import Promises, stored_objects, stored_uploads, tenants
from common.storage.local import LocalStorage
from tests.contract.storage_parts import Body, Watcher, beginning, put

MIB = 1024**2
TENANT = "default"


def key() -> UploadKey:
    return UploadKey(TENANT, str(uuid7()))


# --- listing ------------------------------------------------------------------------------------------------


def test_names_that_are_not_ours_are_passed_over(tmp_path: Path) -> None:
    ours, file_id = str(uuid7()), str(uuid7())
    for folder in ("lost+found", TENANT, f"{TENANT}/uploads/{ours}", f"{TENANT}/uploads/Backup (1)", f"{TENANT}/other"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in (f"{file_id[-2:]}/{file_id}", f"{file_id[-2:]}/notes.txt", f"zz/{file_id}"):
        path = tmp_path / TENANT / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / ".probe-1").touch()
    assert tenants(tmp_path) == [TENANT]
    assert stored_uploads(tmp_path, TENANT) == [UploadKey(TENANT, ours)]
    assert [found for batch in stored_objects(tmp_path, TENANT) for found in batch] == [ObjectKey(TENANT, file_id)]


def test_a_half_removed_upload_is_listed_once_under_its_own_id(tmp_path: Path) -> None:
    upload = str(uuid7())
    for name in (upload, f".dying-{upload}"):
        (tmp_path / TENANT / "uploads" / name).mkdir(parents=True)
    assert stored_uploads(tmp_path, TENANT) == [UploadKey(TENANT, upload)]


async def test_abort_removes_what_a_cut_off_abort_left(tmp_path: Path) -> None:
    upload = key()
    storage = LocalStorage(tmp_path, StorageSettings.model_validate({}))
    left = tmp_path / TENANT / "uploads" / f".dying-{upload.upload_id}"
    left.mkdir(parents=True)
    (left / "data").write_bytes(b"x")
    await storage.abort(upload)
    assert stored_uploads(tmp_path, TENANT) == []
    await storage.close()


# --- promises -----------------------------------------------------------------------------------------------


class Disk:
    """A volume of `size` bytes as statvfs tells it: what is allocated below `root` is taken."""

    def __init__(self, root: Path, size: int) -> None:
        self.root, self.size = root, size

    def statvfs(self, _: Path) -> SimpleNamespace:
        used = sum(path.stat().st_blocks * 512 for path in self.root.rglob("*") if path.is_file())
        return SimpleNamespace(f_bavail=(self.size - used) // 4096, f_frsize=4096)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(tmp_path, 10 * MIB)
    monkeypatch.setattr("common.storage.durable.os.statvfs", disk.statvfs)
    return disk


@pytest.fixture
def storage(disk: Disk) -> LocalStorage:
    return open_on(disk)


def open_on(disk: Disk) -> LocalStorage:
    return LocalStorage(disk.root, StorageSettings.model_validate({"min_free_bytes": 1 * MIB, "durability": "none"}))


async def test_two_uploads_that_each_fit_but_not_both(storage: LocalStorage) -> None:
    await storage.begin(*beginning(key(), 6 * MIB))
    with pytest.raises(InsufficientStorage) as refused:
        await storage.begin(*beginning(key(), 6 * MIB))
    assert refused.value.extras == {"needed_bytes": 6 * MIB}
    await storage.begin(*beginning(key(), 3 * MIB))  # exactly what is left


async def test_an_empty_file_always_fits_above_the_reserve(storage: LocalStorage) -> None:
    await storage.begin(*beginning(key(), 9 * MIB))
    await storage.begin(*beginning(key(), 0))
    await storage.begin(*beginning(key(), None))


async def test_room_comes_back_at_once_after_an_abort(storage: LocalStorage) -> None:
    first = key()
    await storage.begin(*beginning(first, 6 * MIB))
    await storage.abort(first)
    await storage.begin(*beginning(key(), 6 * MIB))


async def test_bytes_that_arrived_are_not_counted_twice(storage: LocalStorage) -> None:
    first = key()
    await storage.begin(*beginning(first, 6 * MIB))
    await put(storage, first, 0, os.urandom(5 * MIB))
    await storage.begin(
        *beginning(key(), 3 * MIB - 4096)
    )  # 10 = 1 reserve + 5 stored and their receipt + 1 promised + 3
    with pytest.raises(InsufficientStorage):
        await storage.begin(*beginning(key(), 1 * MIB))


async def test_what_another_process_promised_counts(disk: Disk) -> None:
    ours, theirs = open_on(disk), open_on(disk)
    await theirs.begin(*beginning(key(), 6 * MIB))
    with pytest.raises(InsufficientStorage):
        await ours.begin(*beginning(key(), 6 * MIB))


async def test_a_stream_that_has_not_told_its_size_grows_beside_what_others_were_promised(
    storage: LocalStorage,
) -> None:
    first, stream = key(), key()
    await storage.begin(*beginning(first, 6 * MIB))
    await storage.begin(*beginning(stream, None))
    await storage.append(stream, Segment(0, 2 * MIB), Body(bytes(2 * MIB)))
    with pytest.raises(InsufficientStorage):
        await storage.append(stream, Segment(2 * MIB, 2 * MIB), Body(bytes(2 * MIB)))
    assert await storage.end(stream) == 2 * MIB
    await put(storage, first, 0, bytes(6 * MIB))  # there is room for what was promised
    await storage.abort(first)
    await storage.append(stream, Segment(2 * MIB, 2 * MIB), Body(bytes(2 * MIB)))


async def test_a_stream_that_has_told_its_size_has_its_room(storage: LocalStorage) -> None:
    stream = key()
    await storage.begin(*beginning(stream, 8 * MIB))
    await storage.append(stream, Segment(0, 8 * MIB), Body(bytes(8 * MIB)))


async def test_parts_without_a_size_are_put_together_beside_what_others_were_promised(storage: LocalStorage) -> None:
    final, part, other = key(), key(), key()
    await storage.begin(*beginning(final, None))  # what it will have, its parts did not say when it began
    await storage.begin(*beginning(part, None))
    await storage.append(part, Segment(0, 3 * MIB), Body(bytes(3 * MIB)))
    await storage.begin(*beginning(other, 4 * MIB))
    with pytest.raises(InsufficientStorage):
        await storage.concatenate(final, [(part, 3 * MIB)], Watcher().watch)
    await storage.abort(other)
    await storage.concatenate(final, [(part, 3 * MIB)], Watcher().watch)
    assert await storage.end(final) == 3 * MIB


async def test_a_refused_upload_leaves_no_folder(storage: LocalStorage, disk: Disk) -> None:
    with pytest.raises(InsufficientStorage):
        await storage.begin(*beginning(key(), 10 * MIB))
    assert stored_uploads(disk.root, TENANT) == []


def test_files_that_wait_whole_are_not_looked_into(disk: Disk) -> None:
    """There may be a hundred thousand, and they have no holes."""
    for suffix in (".whole", ".coming"):
        inside = disk.root / TENANT / "uploads" / f"{uuid7()}{suffix}"
        inside.mkdir(parents=True)
        with (inside / "data").open("wb") as data:
            data.truncate(9 * MIB)
    Promises(disk.root, 0).require(9 * MIB)


def test_of_many_at_once_no_more_are_let_in_than_fit(disk: Disk) -> None:
    promises = Promises(disk.root, 1 * MIB)
    together = threading.Barrier(8)
    let_in: list[int] = []

    def ask() -> None:
        together.wait()
        try:
            with promises.room_for(2 * MIB):
                upload = disk.root / TENANT / "uploads" / str(uuid7())
                upload.mkdir(parents=True)
                with (upload / "data").open("wb") as data:
                    data.truncate(2 * MIB)
            let_in.append(1)
        except InsufficientStorage:
            pass

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_in) == 4


def test_an_upload_that_could_not_be_made_is_promised_nothing(disk: Disk) -> None:
    promises = Promises(disk.root, 0)
    with pytest.raises(OSError, match="made"), promises.room_for(9 * MIB):
        raise OSError("could not be made")
    with promises.room_for(9 * MIB):
        pass
