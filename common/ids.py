"""Ids: UUIDv7 text (RFC 9562 section 5.7), so that they sort by time and index well."""

from __future__ import annotations

import re

import uuid_utils

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def new_id() -> str:
    return str(uuid_utils.uuid7())


def is_id(text: str) -> bool:
    """Whether the text could be one of our ids; anything else cannot exist and never reaches SQL or a path."""
    return _UUID7.fullmatch(text) is not None
