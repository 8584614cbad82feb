"""What an upload looks like in the header fields of tus 1.0. Pure."""

from __future__ import annotations

from email.utils import format_datetime

from common.db.models import Upload
from common.settings import LimitsSettings
from common.states import UploadState
from gateway.resources import link_to_job
from gateway.service.streams import StreamStatus
from gateway.tus.checksums import ALGORITHMS
from gateway.tus.concatenation import FIELD as CONCAT
from gateway.tus.fields import VERSION
from gateway.tus.metadata import FIELD as METADATA

EXTENSIONS = (
    # not `checksum-trailer`: the HTTP parser hands no trailers to the application
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "checksum",
    "termination",
    "expiration",
)
CONCATENATION = ("concatenation", "concatenation-unfinished")
RECEIVED = (METADATA, CONCAT)
"""Fields of the creation that HEAD gives back as they came."""


def abilities(limits: LimitsSettings, *, concatenates: bool) -> dict[str, str]:
    """For OPTIONS."""
    extensions = (*EXTENSIONS, *CONCATENATION) if concatenates else EXTENSIONS
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(extensions),
        "Tus-Max-Size": str(limits.max_file_size),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }


def progress(status: StreamStatus, prefix: str) -> dict[str, str]:
    """For every answer to a request that moved the offset, or might have. `prefix`: see `Locations.prefix`."""
    return {**_offset(status), **_expiry(status.upload), **link_to_job(status, prefix)}


def everything(status: StreamStatus, prefix: str) -> dict[str, str]:
    """For HEAD."""
    upload = status.upload
    received = {name: value for name, value in (upload.surface or {}).items() if name in RECEIVED}
    return {"Cache-Control": "no-store", **_length(upload), **received, **progress(status, prefix)}


def _offset(status: StreamStatus) -> dict[str, str]:
    """One that is put together of others has none before that is done (section Concatenation)."""
    assembling = status.upload.parts is not None and status.upload.state != UploadState.COMPLETE
    return {} if assembling or status.offset is None else {"Upload-Offset": str(status.offset)}


def _length(upload: Upload) -> dict[str, str]:
    if upload.size is not None:
        return {"Upload-Length": str(upload.size)}
    return {} if upload.parts is not None else {"Upload-Defer-Length": "1"}


def _expiry(upload: Upload) -> dict[str, str]:
    """An IMF-fixdate (RFC 9110 section 5.6.7); what is complete does not expire."""
    return (
        {"Upload-Expires": format_datetime(upload.expires_at, usegmt=True)} if upload.state == UploadState.OPEN else {}
    )
