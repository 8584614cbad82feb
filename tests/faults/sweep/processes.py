"""Gateways that may die at any step."""

from __future__ import annotations

from typing import Any

from common.ahead import AheadNews
from common.db.lookups import Lookups
from common.telemetry import Metrics
from gateway.intake import IntakeMemory
from gateway.service.chunks import ChunkService
from gateway.service.facts import FactsCache
from gateway.service.files import FileService
from gateway.service.finalize import FinalizeService
from gateway.service.herald import Herald
from gateway.service.ingest import IngestService
from gateway.service.uploads import UploadService
from gateway.service.wholes import WholeService
from tests.faults.sweep.mortal import Life, MortalDatabase, MortalStorage
from tests.integration.worker.rig import Rig


class Gateway:
    """The use cases of one gateway process."""

    def __init__(self, rig: Rig, life: Life) -> None:
        database, storage = mortal(rig, life)
        facts, metrics = FactsCache(), Metrics()
        lookups = Lookups(database)
        herald = Herald(AheadNews(rig.redis, rig.settings.redis), storage, rig.settings.storage)
        self.uploads = UploadService(rig.settings.limits, database, lookups, storage, facts, herald)
        memory = IntakeMemory(rig.settings.http)
        self.chunks = ChunkService(self.uploads, storage, facts, memory, metrics)
        self.finalizing = FinalizeService(self.uploads, database, lookups, rig.context.bell, facts, herald)
        wholes = WholeService(database, storage, rig.context.bell)
        services = (self.uploads, self.finalizing, wholes)
        self.ingest = IngestService(rig.settings.limits, *services, storage, memory, metrics)
        self.files = FileService(rig.settings.limits, database, storage, metrics)


def mortal(rig: Rig, life: Life) -> tuple[Any, Any]:
    return MortalDatabase(rig.database, life), MortalStorage(rig.storage, life)
