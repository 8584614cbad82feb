"""Parameters of header fields, and the file names among them (RFC 9110 section 5.6.6, RFC 6266, RFC 8187). Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import quote, unquote_to_bytes

from common.errors import InvalidFilename

# Everything up to the next semicolon that stands outside of a quoted string; no character can be read in two ways.
_SEGMENT = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))*', re.DOTALL)
# Browsers escape nothing but the quote: other backslashes belong to the name.
_ESCAPED = re.compile(r'\\(["\\])')
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE | re.DOTALL)


def parse_parameters(field: str) -> tuple[str, dict[str, str]]:
    """What stands before the first semicolon, in lower case, and the parameters by name in lower case.

    Of a parameter that is given twice the first counts. Header fields arrive decoded as Latin-1, and so they stay.
    """
    value, *segments = _segments(field)
    parameters: dict[str, str] = {}
    for segment in segments:
        name, equals, text = segment.partition("=")
        if equals:
            parameters.setdefault(name.strip().lower(), _unquoted(text.strip()))
    return value.strip().lower(), parameters


def disposition_filename(field: str | None) -> str:
    """`filename*` or else `filename` of a `Content-Disposition` field (RFC 6266 section 4.3, RFC 8187).

    Raises InvalidFilename where there is neither.
    """
    name = filename_of(parse_parameters(field or "")[1])
    if not name:
        raise InvalidFilename('Name the file: Content-Disposition: attachment; filename="report.pdf".')
    return name


def filename_of(parameters: dict[str, str]) -> str | None:
    """The name among the parameters of a `Content-Disposition` field; empty where it is given as empty."""
    extended = _EXTENDED.fullmatch(parameters.get("filename*", ""))
    if extended is not None:
        with suppress(UnicodeDecodeError):
            return unquote_to_bytes(extended[2].strip()).decode(extended[1])
    plain = parameters.get("filename")
    if plain is None:
        return None
    try:
        return plain.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return plain


def attachment(filename: str) -> str:
    """`Content-Disposition` that makes a browser save the file (RFC 6266, RFC 8187 for names beyond ASCII)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    value = f'attachment; filename="{plain}"'
    if plain != filename:
        value += f"; filename*=UTF-8''{quote(filename, safe='')}"
    return value


def _segments(field: str) -> list[str]:
    found = []
    at = 0
    while at <= len(field):
        match = _SEGMENT.match(field, at)
        assert match is not None  # it matches the empty text too
        found.append(match[0])
        at = match.end() + 1
    return found


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return _ESCAPED.sub(r"\1", text[1:-1]) if "\\" in text else text[1:-1]
    return text
