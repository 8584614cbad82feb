"""Structured header fields (RFC 9651) of resumable uploads, read and written. Pure.

A field that is not what the draft defines is ignored as a whole (sections 4.1.1 to 4.1.3): readers give None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import http_sf
from starlette.datastructures import Headers

from common.digests import DIGEST_SIZES

PARTIAL_UPLOAD = "application/partial-upload"


def boolean(headers: Headers, name: str) -> bool | None:
    value = _item(headers, name)
    return value if isinstance(value, bool) else None


def integer(headers: Headers, name: str) -> int | None:
    """A non-negative integer."""
    value = _item(headers, name)
    return value if type(value) is int and value >= 0 else None


def wanted_digests(headers: Headers) -> list[str]:
    """Algorithms of `Want-Repr-Digest` (RFC 9530 section 4) that we know and the client wants, the dearest first."""
    field = _parsed(_joined(headers, "Want-Repr-Digest"), "dictionary")
    items = field.items() if isinstance(field, dict) else ()
    weights = {name: item[0] for name, item in items if name in DIGEST_SIZES and isinstance(item, tuple)}
    return sorted((name for name, weight in weights.items() if _is_weight(weight)), key=lambda name: -weights[name])


def format_limit(members: Mapping[str, int]) -> str:
    """`Upload-Limit` (section 4.1.4)."""
    return str(http_sf.ser({name: (value, {}) for name, value in members.items()}))


def format_boolean(value: bool) -> str:
    return "?1" if value else "?0"


def _item(headers: Headers, name: str) -> Any:
    parsed = _parsed(_joined(headers, name), "item")
    return parsed[0] if isinstance(parsed, tuple) else None


def _parsed(text: str, kind: str) -> Any:
    """None for what is no field of this kind."""
    try:
        return http_sf.parse(text.encode("ascii"), tltype=kind) if text else None
    except (ValueError, http_sf.StructuredFieldError):
        return None


def _is_weight(value: Any) -> bool:
    return type(value) is int and value > 0


def _joined(headers: Headers, name: str) -> str:
    """All lines of a field as one (RFC 9651 section 4.2)."""
    return ", ".join(headers.getlist(name))
