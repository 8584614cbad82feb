"""`Upload-Metadata` of tus 1.0 (section Creation): key and base64 pairs, and what of them is a name or a type. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from common.errors import InvalidField, InvalidRequest
from gateway.service.requests import check_content_type, is_storable

FIELD = "Upload-Metadata"

# What clients call them: no key is prescribed. The first that is there counts.
_NAMES = ("filename", "name")
_TYPES = ("filetype", "type")


@dataclass(frozen=True, slots=True)
class Said:
    """What a client says of the file."""

    filename: str | None = None
    content_type: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def parse_metadata(text: str | None) -> dict[str, str]:
    """Values by key, in their order. Raises InvalidField. An empty field says nothing; some clients send it.

    A value is bytes: where they are no text that can be kept, it stays in base64.
    """
    found: dict[str, str] = {}
    for pair in text.split(",") if text and text.strip() else ():
        key, _, encoded = pair.strip(" \t").partition(" ")
        key, encoded = _utf8(key), encoded.strip(" ")
        if not key:
            raise InvalidField(f"{FIELD} must be pairs of a key and a value in base64, with commas between them.")
        if key in found:
            raise InvalidField(f"{FIELD} has a key twice.")
        found[key] = _decoded(encoded)
    return found


def read(values: Mapping[str, str]) -> Said:
    """Take name and media type out; what has neither role stays. A type that is none stays as well."""
    rest = dict(values)
    filename = _take(rest, _NAMES, values)
    content_type = None
    with suppress(InvalidRequest):
        content_type = check_content_type(next((values[key] for key in _TYPES if values.get(key)), None))
    if content_type is not None:
        _take(rest, _TYPES, values)
    return Said(filename, content_type, rest)


def _take(rest: dict[str, str], keys: tuple[str, ...], values: Mapping[str, str]) -> str | None:
    """The first of these that says something; those that say the same go with it."""
    taken = next((values[key] for key in keys if values.get(key)), None)
    for key in keys:
        if values.get(key) in (taken, ""):
            rest.pop(key, None)
    return taken


def _decoded(encoded: str) -> str:
    try:
        value = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidField(f"Values of {FIELD} must be in base64.") from error
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return encoded
    return text if is_storable(text) else encoded


def _utf8(text: str) -> str:
    """Header fields arrive decoded as Latin-1."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
