"""What a caller asks for, checked: names, sizes, digests, tags and metadata within the limits. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.digests import parse_hex, to_hex
from common.errors import FileTooLarge, InvalidDigest, InvalidRequest, MetadataTooLarge
from common.names import check_extension, clean_filename
from common.settings import LimitsSettings

MAX_TAG_KEY = 128  # characters
MAX_TAG_VALUE = 256
MAX_CONTENT_TYPE = 255
MAX_DESCRIPTION_BYTES = 16 * 1024
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# possessive throughout: a client decides what is matched, and nothing is ever tried twice
_MEDIA_TYPE = re.compile(
    rf"""{_WORD}/{_WORD}(?:[ \t]*+;[ \t]*+(?:{_WORD}=(?:{_WORD}|"(?:[^"\\]|\\.)*+"))?+)*+""", re.ASCII
)
MAX_METADATA_DEPTH = 64  # what every JSON library on the way out can write again


@dataclass(frozen=True, slots=True)
class Description:
    """What a client says about a file beside its bytes."""

    description: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewUpload:
    """A request to create an upload. `size` in bytes; digests in hex by algorithm."""

    filename: str
    size: int
    content_type: str | None = None
    chunk_size: int | None = None
    digests: dict[str, str] = field(default_factory=dict)
    about: Description = field(default_factory=Description)
    direct: bool = False

    def fingerprint(self) -> str:
        """Equal for equal requests: tells a repeated Idempotency-Key from a reused one."""
        about = (self.about.description, self.about.metadata, self.about.tags)
        parts: tuple[Any, ...] = (self.filename, self.size, self.content_type, self.chunk_size, self.digests, about)
        if self.direct:  # keys of requests from before it existed keep their meaning
            parts = (*parts, "direct")
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def check_name(name: str, limits: LimitsSettings) -> str:
    """The clean name; raises InvalidFilename or ExtensionNotAllowed."""
    name = clean_filename(name)
    check_extension(name, limits.allowed_extensions)
    return name


def check_size(size: int, limits: LimitsSettings) -> None:
    if size < 0:
        raise InvalidRequest("size must not be negative.")
    if size > limits.max_file_size:
        raise FileTooLarge(f"A file may have at most {limits.max_file_size} bytes.", limit=limits.max_file_size)


def check_content_type(content_type: str | None) -> str | None:
    """A media type as it may stand in a header field (RFC 9110 section 8.3.1). Raises InvalidRequest."""
    if content_type is None or not content_type.strip():
        return None
    text = content_type.strip()
    if len(text) > MAX_CONTENT_TYPE or not text.isprintable() or not _MEDIA_TYPE.fullmatch(text):
        raise InvalidRequest("content_type must be a media type such as text/csv.")
    return text


def check_digests(digests: Mapping[str, str]) -> dict[str, str]:
    """Digests in normal form; raises InvalidDigest."""
    return to_hex(parse_hex(digests))


def agreed_digests(created_with: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Digests declared at create and at the end; raises InvalidDigest where an algorithm has two different values."""
    for name, value in given.items():
        if created_with.get(name, value) != value:
            raise InvalidDigest(f"The {name} digest differs from the one given when the upload was created.")
    return {**created_with, **given}


def check_about(about: Description, limits: LimitsSettings) -> Description:
    """Raises MetadataTooLarge or InvalidRequest."""
    most = limits.max_metadata_bytes
    _check_storable([about.description, about.metadata, about.tags])
    if len(json.dumps(about.metadata, ensure_ascii=False).encode()) > most:
        raise MetadataTooLarge(f"metadata may have at most {most} bytes as JSON.", limit=most)
    if len((about.description or "").encode()) > MAX_DESCRIPTION_BYTES:
        raise MetadataTooLarge(f"description may have at most {MAX_DESCRIPTION_BYTES} bytes.")
    if len(about.tags) > limits.max_tags:
        raise MetadataTooLarge(f"A file may have at most {limits.max_tags} tags.", limit=limits.max_tags)
    if sum(len(key) + len(value) for key, value in about.tags.items()) > most:
        raise MetadataTooLarge(f"All tags together may have at most {most} characters.", limit=most)
    for key, value in about.tags.items():
        if not key or len(key) > MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
            raise InvalidRequest(
                f"A tag has a key of 1 to {MAX_TAG_KEY} and a value of up to {MAX_TAG_VALUE} characters."
            )
    return about


def parse_tags(texts: list[str]) -> dict[str, str]:
    """Tags of `key=value` or `key` texts."""
    tags = {}
    for text in texts:
        key, _, value = text.partition("=")
        tags[key.strip()] = value.strip()
    return tags


def _check_storable(value: Any) -> None:
    """What every database and every JSON reader takes: no NUL, lone surrogates, NaN or bottomless nesting.

    Not recursive: a client decides how deep the value is.
    """
    waiting: list[tuple[Any, int]] = [(value, -1)]
    while waiting:
        item, depth = waiting.pop()
        if depth > MAX_METADATA_DEPTH:
            raise InvalidRequest(f"metadata may be nested at most {MAX_METADATA_DEPTH} levels deep.")
        if isinstance(item, dict):
            waiting.extend((part, depth + 1) for pair in item.items() for part in pair)
        elif isinstance(item, list):
            waiting.extend((part, depth + 1) for part in item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise InvalidRequest("metadata must be JSON: NaN and Infinity are no JSON numbers.")
        elif isinstance(item, str) and not is_storable(item):
            raise InvalidRequest("description, metadata and tags must not contain NUL or lone surrogates.")


def is_storable(text: str) -> bool:
    """Whether every database can hold the text: no NUL, no lone surrogates."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
