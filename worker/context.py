"""What the parts of one worker process share. Made once at start-up and passed on."""

from __future__ import annotations

from dataclasses import dataclass

from common.db.database import Database
from common.db.lookups import Lookups
from common.queue import Bell
from common.settings import Settings
from common.signals import Signals
from common.storage.base import Storage
from common.telemetry import Metrics
from common.tracing import NO_TRACER, Tracer


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The open connections and the settings. Whoever made it closes it."""

    settings: Settings
    database: Database
    lookups: Lookups
    storage: Storage
    bell: Bell
    signals: Signals
    metrics: Metrics
    tracer: Tracer = NO_TRACER
