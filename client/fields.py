"""HTTP header fields this SDK writes and reads; pure."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import quote

_ITEM = re.compile(r"^\s*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/=]*):\s*$")
_HEX_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+|\*)$")


def digest_field(sha256: bytes) -> str:
    """A Content-Digest value (RFC 9530 section 2) for a SHA-256."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def sha256_of_fields(repr_digest: str | None, etag: str | None) -> str | None:
    """SHA-256 of the whole content as hexadecimal text, from Repr-Digest (RFC 9530 section 3) or else from an ETag that
    is one; None when neither says it."""
    for item in (repr_digest or "").split(","):
        found = _ITEM.match(item)
        if found and found[1] == "sha-256":
            try:
                return base64.b64decode(found[2], validate=True).hex()
            except binascii.Error:
                continue
    tag = (etag or "").strip().strip('"')
    return tag if _HEX_SHA256.match(tag) else None


def content_range(value: str | None) -> tuple[int, int, int | None] | None:
    """(first, last, total) of a Content-Range (RFC 9110 section 14.4); total None for `*`."""
    found = _CONTENT_RANGE.match((value or "").strip())
    if not found:
        return None
    return int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])


def attachment(filename: str) -> str:
    """A Content-Disposition value (RFC 6266) that carries any name: an ASCII form and the exact one (RFC 8187)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
