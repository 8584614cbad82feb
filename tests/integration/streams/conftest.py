"""Streams over every storage that takes them, with a real Redis and SQLite; two gateways where a test needs them."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from common.db.migrate import migrate
from tests.integration.streams.site import Gateway, Site
from tests.integration.worker.rig import close_rig, open_rig, worker_settings


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("streams") / "sluice.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def variables() -> dict[str, str]:
    """Settings of the storage, without their prefix."""
    return {"DURABILITY": "none", "LOG_LEVEL": "warning"}


@pytest.fixture
async def site(migrated: Path, redis_url: str, tmp_path: Path, variables: dict[str, str]) -> AsyncIterator[Site]:
    shutil.copy(migrated, tmp_path / "sluice.db")
    settings = worker_settings(f"sqlite:///{tmp_path / 'sluice.db'}", redis_url, tmp_path, **variables)
    async with AsyncExitStack() as stack:
        rig = await open_rig(settings)
        stack.push_async_callback(close_rig, rig)
        yield Site(settings, rig, stack)


@pytest.fixture
async def gateway(site: Site) -> Gateway:
    return await site.gateway()


@pytest.fixture
async def other(site: Site) -> Gateway:
    """A second gateway over the same place."""
    return await site.gateway()
