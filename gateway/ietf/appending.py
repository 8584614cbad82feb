"""The body of a request, appended in the words of the draft (sections 4.2.2 and 4.4.2)."""

from __future__ import annotations

from fastapi import Request

from common.digests import to_hex
from common.errors import (
    FileTooLarge,
    InconsistentLength,
    OffsetMismatch,
    SizeConflict,
    SluiceError,
    UploadEnded,
    UploadNotOpen,
    UploadTooLong,
)
from common.settings import LimitsSettings
from gateway.api.fields import body_of, content_length, merged_digests
from gateway.ietf.answers import limits
from gateway.ietf.dialects import Dialect
from gateway.intake import Pieces
from gateway.resources import ENDED
from gateway.service.appends import Append, AppendService
from gateway.service.caller import Caller
from gateway.service.streams import StreamService, StreamStatus


async def append_body(
    request: Request,
    dialect: Dialect,
    caller: Caller,
    upload_id: str,
    offset: int,
    *,
    complete: bool,
    streams: StreamService,
    appends: AppendService,
) -> StreamStatus:
    """Append at `offset`; `Content-Digest` is compared before any of it counts (section 9.2), `Repr-Digest` of the last
    bytes with the whole, by the job (section 9.1).

    Raises InconsistentLength, also for more bytes than the upload has, which ends it (section 4.4.2); UploadEnded; and
    what `AppendService.append` raises.
    """
    declared = merged_digests([request.headers.getlist("content-digest")])
    whole = to_hex(merged_digests([request.headers.getlist("repr-digest")])) if complete else {}
    ends = complete or (None if dialect.length_ends else False)
    wanted = Append(offset, content_length(request), declared, ends, whole)
    try:
        return await appends.append(caller, upload_id, wanted, Pieces(body_of(request)))
    except UploadTooLong as error:
        await streams.abort(caller, upload_id)
        raise InconsistentLength(f"{error.detail} The upload has ended; begin a new one.") from error
    except SizeConflict as error:
        raise InconsistentLength(error.detail) from error
    except UploadNotOpen as error:
        if error.extras.get("state") in ENDED:
            raise UploadEnded("The upload has ended; begin a new one.", **error.extras) from error
        raise


def in_words_of_the_draft(error: SluiceError, dialect: Dialect, settings: LimitsSettings) -> SluiceError:
    """Adds what the draft wants beside a refusal: where the upload ends, and the limits."""
    if isinstance(error, OffsetMismatch):
        expected = error.extras["expected_offset"]
        error.extras |= {"expected-offset": expected, "provided-offset": error.extras["provided_offset"]}
        error.fields |= {"Upload-Offset": str(expected), **dialect.fields(complete=False)}
    elif isinstance(error, FileTooLarge):
        error.fields |= limits(settings)
    return error
