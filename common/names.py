"""File names as clients give them, addresses as people may see them. Pure. A name never becomes part of a path."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from urllib.parse import urlsplit

from common.errors import ExtensionNotAllowed, InvalidFilename

MAX_NAME_BYTES = 255  # what every common file system takes as one name; the client will want to save it under it
# NFC makes one character of at most four, and takes time that grows with the square of a run of marks: longer names
# cannot come out short enough, so they are refused before.
_MAX_RAW_CHARACTERS = 4 * MAX_NAME_BYTES

_TOO_LONG = f"The file name must be at most {MAX_NAME_BYTES} bytes of UTF-8."
_SEPARATORS = frozenset("/\\")
# Cc control, Cf format (bidirectional overrides make "exe.txt" of "txt.exe"), Cs surrogates, Zl and Zp line breaks
_REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # format characters that emoji and several scripts need


def clean_filename(name: str) -> str:
    """The name in NFC. Raises InvalidFilename with the reason."""
    if len(name) > _MAX_RAW_CHARACTERS:
        raise InvalidFilename(_TOO_LONG)
    name = unicodedata.normalize("NFC", name)
    if not name or name in {".", ".."} or name.isspace():
        raise InvalidFilename("The file name must not be empty, '.' or '..'.")
    for character in name:
        if character in _SEPARATORS:
            raise InvalidFilename("The file name must not contain '/' or '\\'; send the last part of the path only.")
        if unicodedata.category(character) in _REFUSED_CATEGORIES and character not in _JOINERS:
            raise InvalidFilename(f"The file name must not contain the control character U+{ord(character):04X}.")
    if len(name.encode("utf-8")) > MAX_NAME_BYTES:
        raise InvalidFilename(_TOO_LONG)
    return name


def extension(name: str) -> str:
    """Lower-case extension without the dot; empty where there is none (also for names like `.profile`)."""
    stem, dot, last = name.rpartition(".")
    return last.lower() if dot and stem else ""


def check_extension(name: str, allowed: Iterable[str]) -> None:
    """Raises ExtensionNotAllowed where a list of allowed extensions is given and this name's is not on it."""
    accepted = sorted(allowed)
    if accepted and extension(name) not in accepted:
        shown = ", ".join(f".{item}" for item in accepted)
        raise ExtensionNotAllowed(f"Only these extensions are taken: {shown}.", allowed=accepted)


def address_of(url: str) -> str:
    """Where a URL leads, without user and password: for logs and messages."""
    parts = urlsplit(url)
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    return f"{parts.scheme}://{host}{parts.path}"
