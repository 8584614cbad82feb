"""Header fields of tus 1.0, read and written. Pure. Section names are those of the protocol's text."""

from __future__ import annotations

import re

from starlette.datastructures import Headers

from common.errors import ContentTypeRefused, InvalidField
from gateway.api.disposition import parse_parameters

VERSION = "1.0.0"
OVERRIDE = "x-http-method-override"
BODY_TYPE = "application/offset+octet-stream"  # of every body with bytes of an upload (section PATCH)
BEYOND = 10**19  # more bytes than any file system counts: a client decides how many digits there are

_NUMBER = re.compile(r"[0-9]+", re.ASCII)


def one(headers: Headers, name: str) -> str | None:
    """The value of a field that may stand once; None where it is absent. Raises InvalidField."""
    values = headers.getlist(name)
    if len(values) > 1:
        raise InvalidField(f"{name} may stand in a request once.")
    return values[0] if values else None


def number(headers: Headers, name: str) -> int | None:
    """A non-negative integer, digits and nothing else (sections Upload-Offset, Upload-Length). Raises InvalidField."""
    text = one(headers, name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise InvalidField(f"{name} must be a number from 0, written in digits.")
    plain = text.lstrip("0") or "0"
    return int(plain) if len(plain) < 20 else BEYOND


def declared_length(headers: Headers) -> int | None:
    """Bytes of the whole upload; None where the client defers to say it (section Creation). Raises InvalidField unless
    there is exactly one of `Upload-Length` and `Upload-Defer-Length: 1`."""
    length = number(headers, "Upload-Length")
    deferred = one(headers, "Upload-Defer-Length")
    if deferred is not None and deferred != "1":
        raise InvalidField("Upload-Defer-Length must be 1, or absent.")
    if (length is None) == (deferred is None):
        raise InvalidField("Send either Upload-Length or Upload-Defer-Length: 1.")
    return length


def require_body_type(headers: Headers) -> None:
    """Raises ContentTypeRefused for bytes that are not said to be those of an upload (section PATCH)."""
    if parse_parameters(headers.get("content-type", ""))[0] != BODY_TYPE:
        error = ContentTypeRefused(f"Send the bytes with Content-Type: {BODY_TYPE}.")
        error.fields["Accept-Patch"] = BODY_TYPE  # RFC 5789 section 2.2
        raise error
