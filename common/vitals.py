"""What every process says of itself: what it is, how late its event loop is, how many of its connections are in use."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Literal

from common.db.database import Database
from common.errors import JobError, SettingsError, all_errors
from common.states import JobKind
from common.telemetry import Metrics, show_zero

Part = Literal["gateway", "worker"]

OUTCOMES = ("succeeded", "retried", "failed", "given_back", "lease_lost")
"""How an attempt of a job may end."""
REASONS = (
    "lease_lost",
    "attempts_exhausted",
    "bell_lost",
    "parts_arrived",
    "expired",
    "cleaned",
    "deleted",
    "given_up",
)
"""Why the sweep moves or removes something."""
BEAT = 0.5  # seconds between two looks at the loop; all of them cost less than a thousandth of a core


def begin(metrics: Metrics, part: Part) -> None:
    """Say what this process is, and show each counter whose labels are known as 0.

    To Prometheus the step from no series to 1 is no increase: an alert would miss the first time.
    """
    metrics.build_info.labels(part=part, version=version("sluice")).set(1)
    kinds = [{"kind": str(kind)} for kind in JobKind]
    show_zero(metrics.bell_failed, kinds)
    if part == "gateway":
        show_zero(metrics.refused, [{"code": code} for code in _codes(of_jobs=False)])
        return
    show_zero(metrics.jobs, [{**kind, "outcome": outcome} for kind in kinds for outcome in OUTCOMES])
    show_zero(metrics.jobs_failed, [{**kind, "code": code} for kind in kinds for code in _codes(of_jobs=True)])
    show_zero(metrics.swept, [{"reason": reason} for reason in REASONS])


def _codes(*, of_jobs: bool) -> list[str]:
    """Codes that are shown: those of jobs, or those of answers."""
    shown = [cls for cls in all_errors() if issubclass(cls, JobError) is of_jobs]
    return [cls.code for cls in shown if not issubclass(cls, SettingsError)]


def watch_pool(metrics: Metrics, database: Database) -> None:
    """From now on a scrape shows the connections of this process."""
    metrics.database_connections.set_function(lambda: database.connections_in_use)
    metrics.database_pool_size.set(database.pool_size)


async def watch_loop(metrics: Metrics) -> None:
    """Note how much later than asked the loop comes back, for ever. Ends by cancellation."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + BEAT
        await asyncio.sleep(BEAT)
        metrics.loop_lag_seconds.observe(max(0.0, loop.time() - due))
