"""`Upload-Checksum` of tus 1.0 (section Checksum). Pure."""

from __future__ import annotations

import base64
import binascii

from common.digests import CRC_32C, CRC_64, DIGEST_SIZES, OLD_SIZES, SHA_256, SHA_512, Digests
from common.errors import InvalidField

ALGORITHMS = {
    "sha1": "sha1",
    "sha256": SHA_256,
    "sha512": SHA_512,
    "md5": "md5",
    "crc32": "crc32",
    "crc32c": CRC_32C,
    "crc64nvme": CRC_64,
}
"""The names that tus clients use, and ours. CRCs are their bytes with the highest first."""

_SIZES = {**DIGEST_SIZES, **OLD_SIZES}


def parse_checksum(text: str | None) -> Digests:
    """The digest that the bytes of this request must have; empty without the field. Raises InvalidField."""
    if text is None:
        return {}
    name, _, encoded = text.strip().partition(" ")
    algorithm = ALGORITHMS.get(name)
    if algorithm is None:
        raise InvalidField(f"Upload-Checksum must begin with one of {', '.join(ALGORITHMS)}.")
    try:
        digest = base64.b64decode(encoded.strip().encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        digest = b""
    size = _SIZES[algorithm]
    if len(digest) != size:
        raise InvalidField(f"Upload-Checksum must be {name} and the base64 of {size} bytes, with a space between them.")
    return {algorithm: digest}
