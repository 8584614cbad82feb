"""Header fields of requests and answers, read and written by their RFCs. Pure."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable

from starlette.requests import ClientDisconnect, Request

from common.digests import Digests, parse_content_digest
from common.errors import BodyIncomplete, InvalidDigest, RangeNotSatisfiable

DIGEST_FIELDS = ("content-digest", "repr-digest")
_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.ASCII | re.IGNORECASE)
_BEYOND = 10**19  # more bytes than any file system counts
_LOOKS_LIKE_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)


def content_length(request: Request) -> int | None:
    """Bytes that the client announces; None for a chunked body. The parser has refused what is not a number."""
    text = request.headers.get("content-length", "")
    return int(text) if _LOOKS_LIKE_NUMBER.fullmatch(text) else None


def content_digest(request: Request) -> Digests:
    """`Content-Digest` and `Repr-Digest` (RFC 9530): of a body that is sent plain and whole they say the same.

    Raises InvalidDigest, also where the two contradict each other.
    """
    return merged_digests(request.headers.getlist(name) for name in DIGEST_FIELDS)


def merged_digests(fields: Iterable[list[str]]) -> Digests:
    """All digests of several fields, each with the values of its lines. Raises InvalidDigest."""
    merged: Digests = {}
    for values in fields:
        declared = parse_content_digest(", ".join(values)) if values else {}
        for name, digest in declared.items():
            if merged.setdefault(name, digest) != digest:
                raise InvalidDigest(f"Content-Digest and Repr-Digest name different {name} digests of the same bytes.")
    return merged


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The body in pieces. Raises BodyIncomplete when the client went away in the middle."""
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect as error:
        raise BodyIncomplete("The connection ended before the body did; send the request again.") from error


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """(start, length) of a `Range` field with one byte range; None where the whole is to be sent.

    Several ranges, other units and malformed fields are ignored, which RFC 9110 section 14.2 allows. Raises
    RangeNotSatisfiable (section 15.5.17).
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        wanted = _count(match[2])
        start, end = max(size - wanted, 0), size
    else:
        wanted, start = 1, _count(match[1])
        last = _count(match[2]) if match[2] else _BEYOND
        if last < start:
            return None
        end = min(last + 1, size)
    if wanted == 0 or start >= size:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", size=size)
    return start, end - start


def _count(digits: str) -> int:
    """The number, or one that is larger than any file: a client decides how many digits there are."""
    plain = digits.lstrip("0") or "0"
    return int(plain) if len(plain) < 20 else _BEYOND
