"""The storages that the contract suite runs over, and the keys its tests use.

- `storage`: one open storage; `open_another`: more of them over the same place, as other gateways and workers have
- `damage`: flips one stored bit of an upload behind the storage's back
- `upload`, `target`: fresh keys
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from uuid_utils import uuid7

from common.settings import StorageSettings
from common.storage import OpenStorage as AnyStorage
from common.storage import open_storage
from common.storage.base import ObjectKey, UploadKey
from tests.contract.rot import flip_in_bucket, flip_in_folder
from tests.fixtures.s3 import S3Server

OpenStorage = Callable[..., AnyStorage]
Damage = Callable[[UploadKey, int, bytes], Awaitable[None]]


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Settings of a storage of this test's own; one entry in `params` for each backend."""
    if request.param == "local":
        return {"storage_url": f"file://{tmp_path / 'storage'}"}
    variables: dict[str, str] = request.getfixturevalue("s3_settings")
    settings = {
        name.removeprefix("SLUICE_").lower(): value for name, value in variables.items() if name.startswith("SLUICE_")
    }
    return settings | {"s3_held_chunk": "32KiB"}  # so that the chunks of the suite stream


@pytest.fixture
async def open_another(place: dict[str, Any]) -> AsyncIterator[OpenStorage]:
    """Opens storages over one place; keyword arguments are settings. All are closed at the end."""
    opened: list[AnyStorage] = []

    def opener(**settings: Any) -> AnyStorage:
        defaults = {**place, "durability": "none", "min_free_bytes": 0}
        opened.append(open_storage(StorageSettings.model_validate(defaults | settings)))
        return opened[-1]

    yield opener
    for storage in opened:
        await storage.close()


@pytest.fixture
def storage(open_another: OpenStorage) -> AnyStorage:
    return open_another()


@pytest.fixture
def damage(place: dict[str, Any], request: pytest.FixtureRequest) -> Damage:
    async def flipped(upload: UploadKey, offset: int, content: bytes) -> None:
        if place["storage_url"].startswith("file://"):
            await asyncio.to_thread(flip_in_folder, place, upload, offset)
        else:
            server: S3Server = request.getfixturevalue("s3_server")
            await asyncio.to_thread(flip_in_bucket, place, upload, offset, content, server.folder)

    return flipped


@pytest.fixture
def upload() -> UploadKey:
    return UploadKey("default", str(uuid7()))


@pytest.fixture
def target(upload: UploadKey) -> ObjectKey:
    """Where `beginning` says that the upload will be sealed to."""
    return ObjectKey(upload.tenant, upload.upload_id)
