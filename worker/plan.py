"""What a seal is asked for, and what its failure means for the job."""

from __future__ import annotations

from common.db.models import Job, Upload
from common.digests import parse_hex
from common.errors import BytesAwaited, UploadGone
from common.storage.base import ObjectKey, Receipt, SealPlan, Verify
from worker.lease import Hold

BYTES_PATIENCE = 60.0  # seconds from the first claim; the gateway gives up storing earlier (`gateway.service.wholes`)


def plan_of(job: Job, upload: Upload, verify: Verify) -> SealPlan:
    """What the file has to be."""
    assert job.file_id is not None, "chosen at finalize, so that every attempt seals to the same place"
    assert upload.size is not None, "known at the latest at finalize"
    target = ObjectKey(job.tenant, job.file_id)
    declared = parse_hex(upload.digests)
    whole = Receipt(0, upload.size, int(upload.whole_crc64, 16)) if upload.whole_crc64 is not None else None
    return SealPlan(target, upload.size, upload.chunk_size, declared, verify, stream=upload.stream, whole=whole)


def unsealed(error: Exception, hold: Hold, upload: Upload, lease_seconds: float) -> Exception:
    """The error of the job where the storage could not seal."""
    if not isinstance(error, FileNotFoundError):
        return error
    if upload.whole_crc64 is not None and _held_for(hold.job, lease_seconds) < BYTES_PATIENCE:
        return BytesAwaited("The bytes of the upload are not stored yet; the job looks again.")
    return UploadGone("The bytes of the upload are gone; create a new upload.")


def _held_for(job: Job, lease_seconds: float) -> float:
    """Seconds from the first claim to the last one, both by the clock of the database."""
    assert job.lease_until is not None
    assert job.started_at is not None
    return (job.lease_until - job.started_at).total_seconds() - lease_seconds
