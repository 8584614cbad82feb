"""A storage whose store can be reached only through a proxy that does wrong what a test asks for."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from uuid_utils import uuid7

from common.settings import StorageSettings
from common.storage.base import ObjectKey, UploadKey
from common.storage.s3 import S3Storage
from tests.fixtures.faulty_store import FaultyStore
from tests.fixtures.s3 import S3Server


@pytest.fixture
async def store(s3_server: S3Server) -> AsyncIterator[FaultyStore]:
    async with FaultyStore(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
async def storage(store: FaultyStore, s3_settings: dict[str, str]) -> AsyncIterator[S3Storage]:
    """Probed already, so that only what a test does is counted and spoilt."""
    settings: dict[str, Any] = {
        name.removeprefix("SLUICE_").lower(): value for name, value in s3_settings.items() if name.startswith("SLUICE_")
    }
    settings |= {"s3_endpoint_url": store.endpoint, "s3_timeout": "5", "s3_attempts": "3"}
    opened = S3Storage(StorageSettings.model_validate(settings))
    await opened.capabilities()
    store.seen.clear()
    yield opened
    await opened.close()


@pytest.fixture
def upload() -> UploadKey:
    return UploadKey("default", str(uuid7()))


@pytest.fixture
def target(upload: UploadKey) -> ObjectKey:
    return ObjectKey(upload.tenant, upload.upload_id)
