"""Header fields of requests and answers, read and written by their RFCs. Pure."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import quote, unquote_to_bytes

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from common.digests import Digests, parse_content_digest
from common.errors import BodyIncomplete, InvalidFilename, RangeNotSatisfiable

_EXTENDED_NAME = re.compile(r"filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^;]+)", re.IGNORECASE)
_RANGE = re.compile(
    r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.ASCII
)  # longer numbers than a file system counts are noise
_LOOKS_LIKE_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)


def content_length(request: Request) -> int | None:
    """Bytes that the client announces; None for a chunked body. The parser has refused what is not a number."""
    text = request.headers.get("content-length", "")
    return int(text) if _LOOKS_LIKE_NUMBER.fullmatch(text) else None


def content_digest(request: Request) -> Digests:
    """`Content-Digest` (RFC 9530 section 2), or `Repr-Digest` for whole files. Raises InvalidDigest."""
    values = request.headers.getlist("content-digest") or request.headers.getlist("repr-digest")
    return parse_content_digest(", ".join(values)) if values else {}


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces. Raises BodyIncomplete when the client went away in the middle."""
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect as error:
        raise BodyIncomplete("The connection ended before the body did; send the request again.") from error


def disposition_filename(value: str | None) -> str:
    """`filename*` or else `filename` of a `Content-Disposition` field (RFC 6266 section 4.3, RFC 8187).

    Raises InvalidFilename where there is neither.
    """
    extended = _EXTENDED_NAME.search(value or "")
    if extended is not None:
        with suppress(LookupError, UnicodeDecodeError):
            return unquote_to_bytes(extended[2].strip()).decode(extended[1] or "utf-8")
    _, options = parse_options_header(value or "")
    raw = options.get(b"filename", b"")
    if not raw:
        raise InvalidFilename('Name the file: Content-Disposition: attachment; filename="report.pdf".')
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def attachment(filename: str) -> str:
    """`Content-Disposition` that makes a browser save the file (RFC 6266, RFC 8187 for names beyond ASCII)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    value = f'attachment; filename="{plain}"'
    if plain != filename:
        value += f"; filename*=UTF-8''{quote(filename, safe='')}"
    return value


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """(start, length) of a `Range` field with one byte range; None where the whole is to be sent.

    Several ranges, other units and malformed fields are ignored, which RFC 9110 section 14.2 allows. Raises
    RangeNotSatisfiable (section 15.5.17).
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(size - int(match[2]), 0), size
        wanted = int(match[2])
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
        wanted = 1
        if match[2] and int(match[2]) < start:
            return None
    if wanted == 0 or start >= size:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", size=size)
    return start, end - start


def matches(header: str, etag: str) -> bool:
    """Whether an `If-None-Match` field names this entity tag; weak comparison (RFC 9110 section 13.1.2)."""
    if header.strip() == "*":
        return True
    return any(part.strip().removeprefix("W/") == etag for part in header.split(","))
