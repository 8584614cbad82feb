"""The immutable facts of uploads, remembered for a few seconds, so that a chunk costs no database query."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from common.chunking import ChunkPlan
from common.db.models import Upload

TTL = 5.0  # seconds
MOST = 4096  # uploads


@dataclass(frozen=True, slots=True)
class Facts:
    """What never changes while an upload is open."""

    size: int
    chunk_size: int

    @property
    def plan(self) -> ChunkPlan:
        return ChunkPlan(self.size, self.chunk_size)


class FactsCache:
    """Least recently used facts by (tenant, upload id). Whether the upload is open is not kept: the storage knows."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str], tuple[float, Facts]] = OrderedDict()

    def get(self, tenant: str, upload_id: str) -> Facts | None:
        entry = self._entries.get((tenant, upload_id))
        if entry is None or entry[0] < time.monotonic():
            return None
        self._entries.move_to_end((tenant, upload_id))
        return entry[1]

    def prolong(self, tenant: str, upload_id: str) -> Facts | None:
        """Also old facts, as good as new from now on: for while the database is away. They never change; only that
        the upload may have ended meanwhile is not known, and the storage knows that."""
        entry = self._entries.get((tenant, upload_id))
        if entry is None:
            return None
        self._entries[tenant, upload_id] = (time.monotonic() + TTL, entry[1])
        return entry[1]

    def put(self, upload: Upload) -> Facts:
        """`upload` must have a known size."""
        assert upload.size is not None
        facts = Facts(upload.size, upload.chunk_size)
        self._entries[upload.tenant, upload.id] = (time.monotonic() + TTL, facts)
        while len(self._entries) > MOST:
            self._entries.popitem(last=False)
        return facts

    def forget(self, tenant: str, upload_id: str) -> None:
        self._entries.pop((tenant, upload_id), None)
