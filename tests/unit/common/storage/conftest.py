"""A local storage in a temporary folder, more of them over the same folder, and one that stands in its middle."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from common.settings import StorageSettings
from common.storage.base import ObjectKey, UploadKey
from common.storage.layout import Layout, UploadPaths
from common.storage.local import LocalStorage
from tests.contract.storage_parts import CHUNK, beginning, put_all, random_bytes

OpenLocal = Callable[..., LocalStorage]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
async def opened(root: Path) -> AsyncIterator[OpenLocal]:
    """Opens storages over `root`, as several gateways do; keyword arguments are settings."""
    made: list[LocalStorage] = []

    def opener(folder: Path | None = None, **settings: Any) -> LocalStorage:
        defaults = {"durability": "none", "min_free_bytes": 0}
        made.append(LocalStorage(folder or root, StorageSettings.model_validate(defaults | settings)))
        return made[-1]

    yield opener
    for storage in made:
        await storage.close()


@pytest.fixture
def upload() -> UploadKey:
    return UploadKey("default", "01900000-0000-7000-8000-000000000001")


@pytest.fixture
def target() -> ObjectKey:
    return ObjectKey("default", "01900000-0000-7000-8000-0000000000ff")


@pytest.fixture
def paths(root: Path, upload: UploadKey) -> UploadPaths:
    return Layout(root).upload(upload)


@pytest.fixture
def published(root: Path, target: ObjectKey) -> Path:
    return Layout(root).file(target)


@pytest.fixture
def content() -> bytes:
    return random_bytes(3 * CHUNK + 1000)


@pytest.fixture
async def received(opened: OpenLocal, upload: UploadKey, content: bytes) -> UploadKey:
    """An upload of `content` with all its chunks."""
    storage = opened()
    await storage.begin(*beginning(upload, len(content)))
    await put_all(storage, upload, content)
    return upload
