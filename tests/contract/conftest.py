"""The storages that the contract suite runs over, and the keys its tests use.

- `storage`: one open storage; `open_another`: more of them over the same place, as other gateways and workers have
- `damage`: flips one stored bit of an upload behind the storage's back
- `upload`, `target`: fresh keys
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from uuid_utils import uuid7

from common.settings import StorageSettings
from common.storage import Storage, open_storage
from common.storage.base import ObjectKey, UploadKey

OpenStorage = Callable[..., Storage]
Damage = Callable[[UploadKey, int], None]


@pytest.fixture(params=["local"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the bytes of this test live; one entry in `params` for each backend."""
    return f"file://{tmp_path / 'storage'}"


@pytest.fixture
async def open_another(storage_url: str) -> AsyncIterator[OpenStorage]:
    """Opens storages over one place; keyword arguments are settings. All are closed at the end."""
    opened: list[Storage] = []

    def opener(**settings: Any) -> Storage:
        defaults = {"storage_url": storage_url, "durability": "none", "min_free_bytes": 0}
        opened.append(open_storage(StorageSettings.model_validate(defaults | settings)))
        return opened[-1]

    yield opener
    for storage in opened:
        await storage.close()


@pytest.fixture
def storage(open_another: OpenStorage) -> Storage:
    return open_another()


@pytest.fixture
def damage(storage_url: str) -> Damage:
    root = Path(storage_url.removeprefix("file://"))

    def flip(upload: UploadKey, offset: int) -> None:
        with (root / upload.tenant / "uploads" / upload.upload_id / "data").open("r+b") as data:
            data.seek(offset)
            byte = data.read(1)[0]
            data.seek(offset)
            data.write(bytes([byte ^ 1]))

    return flip


@pytest.fixture
def upload() -> UploadKey:
    return UploadKey("default", str(uuid7()))


@pytest.fixture
def target() -> ObjectKey:
    return ObjectKey("default", str(uuid7()))
