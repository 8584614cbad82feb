"""A storage whose store can be reached only through a proxy that does wrong what a test asks for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from uuid_utils import uuid7

from common.settings import StorageSettings
from common.storage.base import ObjectKey, UploadKey
from common.storage.s3 import S3Storage
from tests.fixtures.faulty_store import FaultyStore
from tests.fixtures.s3 import S3Server

OpenS3 = Callable[..., Awaitable[S3Storage]]


@pytest.fixture
async def store(s3_server: S3Server) -> AsyncIterator[FaultyStore]:
    async with FaultyStore(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def open_storage(store: FaultyStore, s3_settings: dict[str, str]) -> AsyncIterator[OpenS3]:
    """Opens storages in one bucket; keyword arguments are settings. Probed already, so that only what a test does is
    counted and spoilt."""
    opened: list[S3Storage] = []
    plain = {
        name.removeprefix("SLUICE_").lower(): value for name, value in s3_settings.items() if name.startswith("SLUICE_")
    }

    async def opener(**settings: Any) -> S3Storage:
        own = {**plain, "s3_endpoint_url": store.endpoint, "s3_timeout": "5", **settings}
        opened.append(S3Storage(StorageSettings.model_validate(own)))
        await opened[-1].capabilities()
        store.seen.clear()
        return opened[-1]

    yield opener
    for storage in opened:
        await storage.close()


@pytest.fixture
async def storage(open_storage: OpenS3) -> S3Storage:
    return await open_storage(s3_attempts=3)


@pytest.fixture
def upload() -> UploadKey:
    return UploadKey("default", str(uuid7()))


@pytest.fixture
def target(upload: UploadKey) -> ObjectKey:
    return ObjectKey(upload.tenant, upload.upload_id)
