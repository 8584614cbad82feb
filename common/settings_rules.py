"""Rules between settings: what each group finds right may be wrong together. docs/settings.md lists them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from common.bucket import SCHEME

if TYPE_CHECKING:
    from common.settings import Settings


def problems_between(settings: Settings) -> list[str]:
    """A line for each rule that is broken."""
    problems = []
    if settings.worker.heartbeat_seconds * 2 > settings.worker.lease_seconds:
        problems.append("SLUICE_HEARTBEAT_SECONDS: must be at most half of SLUICE_LEASE_SECONDS")
    if settings.limits.chunk_size_min > settings.limits.chunk_size_max:
        problems.append("SLUICE_CHUNK_SIZE_MIN: must not be above SLUICE_CHUNK_SIZE_MAX")
    if settings.storage.verify == "receipts" and settings.storage.durability == "finalize":
        # a power cut between chunk and finalize can keep a receipt and lose its bytes; nobody would look
        problems.append("SLUICE_VERIFY: receipts needs SLUICE_DURABILITY=chunk (or none, where loss is accepted)")
    if settings.storage.storage_url.startswith(SCHEME) and find_spec("aiobotocore") is None:
        problems.append("SLUICE_STORAGE_URL: an S3 store needs more packages: pip install 'sluice[s3]'")
    if settings.http.accel_redirect and settings.storage.storage_url.startswith(SCHEME):
        problems.append("SLUICE_ACCEL_REDIRECT: needs a storage that nginx can read: file://")
    unknown = set(settings.worker.worker_queues) - {"finalize", "metadata"}
    if unknown or not settings.worker.worker_queues:
        problems.append("SLUICE_WORKER_QUEUES: one or both of finalize,metadata")
    return problems
