"""A storage on a volume as `sluice doctor` sees it: each thing broken once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.attach import attach
from common.db.database import Database
from common.settings import DatabaseSettings, StorageSettings
from common.storage import open_storage
from tests.integration.doctor.examined import FAIL, OK, WARN, failed, found

MEMORY = Path("/dev/shm")
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "storage").mkdir()
    return tmp_path / "storage"


def environ(root: Path, **more: str) -> dict[str, str]:
    return {"SLUICE_STORAGE_URL": f"file://{root}", **more}


async def test_a_volume_that_is_right_has_no_failure_and_nothing_is_left_on_it(root: Path) -> None:
    findings = await found("storage", environ=environ(root, SLUICE_MIN_FREE_BYTES="1"))
    assert failed(findings) == set()
    assert {"storage.reachable", "storage.space", "storage.writable", "storage.locks"} <= set(findings)
    assert list(root.iterdir()) == []


async def test_a_folder_that_is_not_there_is_a_failure_and_is_not_made(tmp_path: Path) -> None:
    assert failed(await found("storage", environ=environ(tmp_path / "no"))) == {"storage.reachable"}
    assert list(tmp_path.iterdir()) == []


async def test_a_file_in_place_of_the_folder_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = (await found("storage", environ=environ(tmp_path / "file")))["storage.reachable"]
    assert (finding.verdict, "not a folder" in finding.said) == (FAIL, True)


async def test_a_folder_that_takes_no_files_is_a_failure() -> None:
    assert failed(await found("storage", environ=environ(Path("/proc")))) >= {"storage.writable"}


async def test_too_little_room_is_a_failure(root: Path) -> None:
    assert failed(await found("storage", environ=environ(root, SLUICE_MIN_FREE_BYTES="900TiB"))) == {"storage.space"}


async def test_a_file_system_in_memory_is_a_warning() -> None:
    if not MEMORY.is_dir():
        pytest.skip("no file system in memory here")
    finding = (await found("storage", environ=environ(MEMORY)))["storage.file_system"]
    assert (finding.verdict, finding.do) == (WARN, "mount a volume there")


async def test_locks_that_do_not_lock_are_a_failure(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.doctor.volume.take_alone", lambda descriptor: True)
    assert failed(await found("storage", environ=environ(root))) == {"storage.locks"}


async def test_a_file_system_without_range_locks_is_a_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.storage.locks.RangeLocks.__init__.__defaults__", (None,))
    finding = (await found("storage", environ=environ(root)))["storage.locks"]
    assert (finding.verdict, finding.said) == (WARN, "no locks of byte ranges")


async def test_a_mount_that_hangs_is_a_failure_in_seconds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr("cli.doctor.volume._there", lambda *_: answers.wait())
    began = time.monotonic()
    findings = await found("storage", "storage.identity", environ=environ(root), seconds=0.5)
    answers.set()
    assert time.monotonic() - began < 10
    assert failed(findings) == {"storage"}


# --- does it belong to the database? ------------------------------------------------------------------------

Attach = Callable[[Path], object]


async def attached(database_url: str, root: Path) -> None:
    """What the first start does."""
    database = Database(DatabaseSettings.model_validate({"database_url": database_url}))
    storage = open_storage(StorageSettings.model_validate({"storage_url": f"file://{root}"}))
    await attach(database, storage)
    await storage.close()
    await database.close()


async def compared(database_url: str, root: Path) -> tuple[str, str]:
    findings = await found(
        "database", "storage", "storage.identity", environ=environ(root, SLUICE_DATABASE_URL=database_url)
    )
    return findings["storage.identity"].verdict, findings["storage.identity"].said


async def test_before_the_first_start_neither_knows_the_other(database_url: str, root: Path) -> None:
    assert (await compared(database_url, root))[0] == OK


async def test_the_storage_of_the_database_is_known(database_url: str, root: Path) -> None:
    await attached(database_url, root)
    assert await compared(database_url, root) == (OK, "the database knows this storage")


@ON_SQLITE
async def test_an_empty_folder_under_an_unmounted_volume_is_a_failure(
    database_url: str, root: Path, tmp_path: Path
) -> None:
    await attached(database_url, tmp_path / "volume")
    assert await compared(database_url, root) == (FAIL, "the database knows a storage, and this one bears no mark")


@ON_SQLITE
async def test_a_storage_of_another_database_is_a_failure(database_url: str, root: Path, tmp_path: Path) -> None:
    await attached(database_url, tmp_path / "volume")
    (root / ".sluice-storage").write_text("another")
    assert await compared(database_url, root) == (FAIL, "this is not the storage that the database knows")


@ON_SQLITE
async def test_a_new_database_beside_a_storage_in_use_is_a_warning(database_url: str, root: Path) -> None:
    (root / ".sluice-storage").write_text("somebody's")
    assert (await compared(database_url, root))[0] == WARN
