"""A gateway in a thread and a worker that runs when it is told to, over one database, storage and queue."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from common.settings import load_settings
from tests.fixtures.traces import Spans
from tests.integration.gateway.rig import Gateway, environment_of, serve
from tests.integration.worker.rig import Rig, close_rig, open_rig


@pytest.fixture
def environment(migrated_sqlite: Path, redis_url: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sluice.db").write_bytes(migrated_sqlite.read_bytes())
    return environment_of(tmp_path, redis_url, DATABASE_TIMEOUT="10")


@pytest.fixture
def gateway(environment: dict[str, str], tmp_path: Path, spans: Spans) -> Iterator[Gateway]:
    with serve(tmp_path, environment, spans.tracer) as opened:
        yield opened


@pytest.fixture
async def rig(environment: dict[str, str], spans: Spans) -> AsyncIterator[Rig]:
    opened = await open_rig(load_settings(environ=environment), spans.tracer)
    yield opened
    await close_rig(opened)


@pytest.fixture
async def plain_rig(environment: dict[str, str]) -> AsyncIterator[Rig]:
    """A worker without traces."""
    opened = await open_rig(load_settings(environ=environment))
    yield opened
    await close_rig(opened)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """Every line that gateway and worker log, as fields."""
    kept = LogCapture()
    structlog.configure(
        [structlog.contextvars.merge_contextvars, kept], structlog.make_filtering_bound_logger(logging.INFO)
    )
    yield kept.entries
    structlog.reset_defaults()
