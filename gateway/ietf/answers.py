"""What an upload looks like in the header fields of the draft."""

from __future__ import annotations

from datetime import UTC, datetime

from common.db.models import File, Upload
from common.digests import format_digest_field, parse_hex
from common.settings import LimitsSettings
from common.states import UploadState
from gateway.ietf.dialects import Dialect
from gateway.ietf.fields import format_limit
from gateway.resources import link_to_job
from gateway.service.streams import StreamStatus


def limits(settings: LimitsSettings, upload: Upload | None = None) -> dict[str, str]:
    """`Upload-Limit` (section 4.1.4). There is no bound on one append, and none on how small it is."""
    members = {"max-size": settings.max_file_size}
    if upload is None:
        members["max-age"] = int(settings.upload_ttl)
    elif upload.state == UploadState.OPEN:
        left = upload.expires_at - datetime.now(UTC)
        members["max-age"] = max(0, int(left.total_seconds()))
    return {"Upload-Limit": format_limit(members)}


def progress(status: StreamStatus, dialect: Dialect, prefix: str) -> dict[str, str]:
    """Offset and completeness (sections 4.1.1 and 4.1.2), and the job where there is one. `prefix`: see
    `Locations.prefix`."""
    offset = {} if status.offset is None else {"Upload-Offset": str(status.offset)}
    complete = status.upload.state != UploadState.OPEN
    return {**offset, **dialect.fields(complete=complete), **link_to_job(status, prefix)}


def length(upload: Upload) -> dict[str, str]:
    return {} if upload.size is None else {"Upload-Length": str(upload.size)}


def digests(file: File | None) -> dict[str, str]:
    """`Repr-Digest` (RFC 9530 section 3) of what has become a file."""
    return {} if file is None else {"Repr-Digest": format_digest_field(parse_hex(file.digests))}
