"""`Upload-Concat` of tus 1.0 (section Concatenation). Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from common.errors import InvalidField

FIELD = "Upload-Concat"
PARTIAL = "partial"
FINAL = "final;"

_ADDRESS = re.compile(r"(?:.*/tus/)?([^/]+)/?", re.DOTALL)


def is_final(text: str | None) -> bool:
    """Whether the field makes an upload one that is made of others."""
    return text is not None and text.startswith(FINAL)


def is_partial(text: str | None) -> bool:
    return text == PARTIAL


def check_concat(text: str | None) -> None:
    """Raises InvalidField for what is neither."""
    if text is not None and not is_partial(text) and not is_final(text):
        raise InvalidField(f"{FIELD} must be partial, or final; and the addresses of partial uploads.")


def parts_of(text: str) -> list[str]:
    """Ids of the partial uploads of a final one, in their order. Raises InvalidField.

    Addresses may be absolute or relative; behind which name and path a proxy shows us is not known here, so only what
    stands from `/tus/` on is looked at.
    """
    addresses = text.removeprefix(FINAL).split()
    if not addresses:
        raise InvalidField(f"{FIELD} names no partial upload.")
    return [_id_of(address) for address in addresses]


def _id_of(address: str) -> str:
    try:
        path = urlsplit(address).path
    except ValueError:
        path = ""
    match = _ADDRESS.fullmatch(path)
    if match is None:
        raise InvalidField(f"{FIELD} has something that is no address of a partial upload.")
    return match[1]
