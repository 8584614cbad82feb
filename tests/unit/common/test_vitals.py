"""What a process measures of itself."""

import asyncio
import time
from importlib.metadata import version
from pathlib import Path

from common.db.database import Database
from common.settings import DatabaseSettings
from common.telemetry import Metrics
from common.vitals import BEAT, begin, watch_loop, watch_pool


async def test_a_loop_that_is_held_up_shows_by_how_much() -> None:
    metrics = Metrics()
    watching = asyncio.create_task(watch_loop(metrics))
    await asyncio.sleep(0)  # it has begun to wait
    time.sleep(BEAT + 0.4)  # noqa: ASYNC251 - what must not happen
    while not metrics.registry.get_sample_value("sluice_event_loop_lag_seconds_count"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    watching.cancel()
    assert (metrics.registry.get_sample_value("sluice_event_loop_lag_seconds_sum") or 0) >= 0.39


async def test_the_connections_in_use_are_counted(tmp_path: Path) -> None:
    metrics = Metrics()
    settings = {"database_url": f"sqlite:///{tmp_path / 'sluice.db'}", "database_pool_size": 3}
    database = Database(DatabaseSettings.model_validate(settings))
    watch_pool(metrics, database)

    def used() -> float | None:
        return metrics.registry.get_sample_value("sluice_database_connections")

    async with database.reading() as repository:
        await repository.session.connection()
        assert used() == 1
    assert used() == 0
    assert metrics.registry.get_sample_value("sluice_database_pool_size") == 3
    await database.close()


def test_a_gateway_shows_refusals_that_have_not_been() -> None:
    metrics = Metrics()
    begin(metrics, "gateway")
    shown = metrics.render().decode()
    assert f'sluice_build_info{{part="gateway",version="{version("sluice")}"}} 1.0' in shown
    assert 'sluice_refused_total{code="insufficient_storage"} 0.0' in shown
    assert "chunks_damaged" not in shown


def test_a_worker_shows_outcomes_that_have_not_been() -> None:
    metrics = Metrics()
    begin(metrics, "worker")
    shown = metrics.render().decode()
    assert 'sluice_jobs_failed_total{code="attempts_exhausted",kind="finalize"} 0.0' in shown
    assert 'sluice_jobs_total{kind="metadata",outcome="lease_lost"} 0.0' in shown
    assert 'sluice_swept_total{reason="bell_lost"} 0.0' in shown
    assert "insufficient_storage" not in shown
