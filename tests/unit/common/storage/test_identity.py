"""A storage whose volume is not mounted is away, not empty."""

import asyncio
import threading
from pathlib import Path

import pytest

from common.attach import attach
from common.db.database import Database
from common.errors import SluiceError, StorageUnavailable
from common.settings import DatabaseSettings, StorageSettings
from common.storage import OpenStorage, open_storage
from common.storage.base import ObjectKey, SealPlan, SealWatch, UploadKey
from tests.contract.storage_parts import beginning

UPLOAD = UploadKey("default", "01920000-0000-7000-8000-000000000001")
FILE = ObjectKey("default", "01920000-0000-7000-8000-000000000002")


def at(root: Path) -> OpenStorage:
    settings = {"storage_url": f"file://{root}", "durability": "none", "min_free_bytes": 0}
    return open_storage(StorageSettings.model_validate(settings))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "volume" / "storage"


async def verbs(storage: OpenStorage) -> list[str]:
    """What every verb says, in one word."""
    calls = {
        "begin": storage.begin(*beginning(UPLOAD, 10)),
        "receipts": storage.receipts(UPLOAD),
        "abort": storage.abort(UPLOAD),
        "delete": storage.delete(FILE),
        "read": storage.read(FILE, 0, 1),
        "activity": storage.last_activity(UPLOAD),
        "writable": storage.check_writable(),
        "seal": storage.seal(UPLOAD, SealPlan(FILE, 10, 10), SealWatch(lambda done: None, threading.Event())),
    }
    outcome = []
    for name, call in calls.items():
        try:
            await call
        except StorageUnavailable:
            outcome.append(name)
        except (SluiceError, FileNotFoundError):
            pass
    return outcome


@pytest.mark.parametrize("empty_mount_point", [True, False])
async def test_no_verb_believes_an_unmounted_volume(root: Path, database_url: str, empty_mount_point: bool) -> None:
    database = Database(DatabaseSettings.model_validate({"database_url": database_url}))
    storage = at(root)
    await attach(database, storage)
    assert await verbs(storage) == []

    root.rename(root.with_name("elsewhere"))
    if empty_mount_point:
        root.mkdir()
    away = await verbs(storage)
    made = list(root.glob("*")) if root.exists() else []
    if empty_mount_point:
        root.rmdir()
    root.with_name("elsewhere").rename(root)

    assert away == ["begin", "receipts", "abort", "delete", "read", "activity", "writable", "seal"]
    assert made == []
    assert await verbs(storage) == []
    await storage.close()
    await database.close()


async def test_another_storage_at_the_same_address_is_refused(root: Path, database_url: str) -> None:
    database = Database(DatabaseSettings.model_validate({"database_url": database_url}))
    first = at(root)
    await attach(database, first)
    root.rename(root.with_name("elsewhere"))
    second = at(root)
    await second.initialise("01920000-0000-7000-8000-00000000000f")

    await attach(database, second)

    with pytest.raises(StorageUnavailable, match="not the storage"):
        await second.check_writable()
    await first.close()
    await second.close()
    await database.close()


async def test_a_restarted_process_does_not_make_an_empty_storage_its_own(root: Path, database_url: str) -> None:
    database = Database(DatabaseSettings.model_validate({"database_url": database_url}))
    first = at(root)
    await attach(database, first)
    await first.close()
    root.rename(root.with_name("elsewhere"))
    root.mkdir()

    restarted = at(root)
    await attach(database, restarted)

    with pytest.raises(StorageUnavailable, match="mounted"):
        await restarted.begin(*beginning(UPLOAD, 10))
    await restarted.close()
    await database.close()


async def test_processes_that_start_together_agree_on_one_storage(root: Path, database_url: str) -> None:
    databases = [Database(DatabaseSettings.model_validate({"database_url": database_url})) for _ in range(4)]
    storages = [at(root) for _ in range(4)]

    await asyncio.gather(*(attach(*pair) for pair in zip(databases, storages, strict=True)))

    for database, storage in zip(databases, storages, strict=True):
        await storage.check_writable()
        await storage.close()
        await database.close()
