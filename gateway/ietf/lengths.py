"""How long an upload will be, as a request says it in up to two ways (section 4.1.3). Pure."""

from __future__ import annotations

from starlette.datastructures import Headers

from common.errors import InconsistentLength
from gateway.ietf.fields import integer


def declared_length(headers: Headers, offset: int, content_length: int | None, *, complete: bool | None) -> int | None:
    """Bytes of the whole representation; None where the request does not say.

    `Upload-Length` says it, and so does the length of a body at `offset` that is the last. Raises InconsistentLength
    where the two differ.
    """
    stated = integer(headers, "Upload-Length")
    rest = offset + content_length if complete and content_length is not None else None
    if stated is not None and rest is not None and stated != rest:
        raise InconsistentLength(f"Upload-Length says {stated} bytes, the last body ends at {rest}.")
    return rest if stated is None else stated
