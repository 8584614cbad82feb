"""The media type that the content itself shows. File names and declarations play no part here.

Three steps: signatures that leave no doubt; text and what kind of text; the signature collection of puremagic for
the many rarer formats. puremagic alone is not enough: for a signature that many formats share (ZIP, OLE) it names
the first it lists, and two-letter signatures like BM or MZ also begin ordinary sentences.
"""

import json
import re
from dataclasses import dataclass
from functools import cache

import puremagic
from puremagic.main import magic_footer_array, magic_header_array
from puremagic.main import max_head as PUREMAGIC_HEAD_BYTES  # noqa: N812  a constant, whatever its spelling

from worker.attributes.media_types import EMPTY, UNKNOWN, normalise
from worker.attributes.text import TextSample


@dataclass(frozen=True, slots=True)
class Sniffed:
    """`media_type` is the best answer; `candidates` are all types the same bytes may have, `media_type` among them."""

    media_type: str
    candidates: frozenset[str]


# (offset, bytes, media type): the first match wins. Sources: the formats' specifications.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"II+\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (0, b"\0\0\1\0", "image/vnd.microsoft.icon"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypheix", "image/heic"),
    (4, b"ftypmif1", "image/heif"),
    (4, b"ftypqt  ", "video/quicktime"),
    (4, b"ftyp3g", "video/3gpp"),
    (4, b"ftypM4A ", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"%!PS", "application/postscript"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"PK\3\4", "application/zip"),
    (0, b"PK\5\6", "application/zip"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (257, b"ustar", "application/x-tar"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"\xfe\xed\xfa\xce", "application/x-mach-binary"),
    (0, b"\xfe\xed\xfa\xcf", "application/x-mach-binary"),
    (0, b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (0, b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (0, b"\0asm", "application/wasm"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"SQLite format 3\0", "application/x-sqlite3"),
    (0, b"OggS\0", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"ID3\2", "audio/mpeg"),
    (0, b"ID3\3", "audio/mpeg"),
    (0, b"ID3\4", "audio/mpeg"),
)
_RIFF_TYPES = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BMP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body|script)[\s>]", re.IGNORECASE)
_LEADING_COMMENTS = re.compile(r"(?:\s+|<!--(?:(?!-->)[\s\S])*-->|<\?xml[^>]*\?>)*+")
_SVG = re.compile(r"(?:<!DOCTYPE svg[^>]*>\s*)?<svg[\s>]")
_MARKUP_CHARACTERS = 4096
"""Characters in which markup has to show its root; browsers look at 1,445 bytes."""

_MIN_TEXT_MATCH = 8
"""Bytes of a puremagic signature that name a kind of text: shorter ones are ordinary words (`import`, `From`)."""
_MIN_BINARY_MATCH = 4
_MIN_PRINTABLE_SIGNATURE = 4
"""Bytes of a signature above that text may also begin with: `BZh` alone is no proof there."""


def detect_type(head: bytes, tail: bytes, text: TextSample | None, *, whole: bool) -> Sniffed:
    """The type of the content that begins with `head` and, if not `whole`, ends with `tail`.

    `text` is what read_text() made of the same bytes. Content that nothing is known about is text/plain or
    application/octet-stream. Never raises on what the bytes contain.
    """
    if not head:
        return _only(EMPTY)
    proven = _by_signature(head, head if whole else tail, is_text=text is not None)
    if proven is not None:
        return _only(proven)
    if text is not None:
        kind = _text_kind(text)
        if kind is not None:
            return _only(kind)
        rare = _by_puremagic(head, tail, _MIN_TEXT_MATCH, whole=whole)
        return Sniffed(rare.media_type, rare.candidates | {"text/plain"}) if rare else _only("text/plain")
    if head.startswith(b"MZ"):
        return _only("application/vnd.microsoft.portable-executable")
    return _by_puremagic(head, tail, _MIN_BINARY_MATCH, whole=whole) or _only(UNKNOWN)


def _only(media_type: str) -> Sniffed:
    return Sniffed(media_type, frozenset({media_type}))


def _by_signature(head: bytes, end: bytes, *, is_text: bool) -> str | None:
    for offset, signature, media_type in _SIGNATURES:
        if is_text and (offset or (signature.isascii() and len(signature) < _MIN_PRINTABLE_SIGNATURE)):
            continue
        if head.startswith(signature, offset):
            return media_type
    return None if is_text else _by_structure(head, end)


def _by_structure(head: bytes, end: bytes) -> str | None:
    """Formats whose first bytes need a second look."""
    if head.startswith(b"RIFF"):
        return _RIFF_TYPES.get(head[8:12])
    if head.startswith(b"\x1aE\xdf\xa3"):  # EBML: the document type stands in the first element
        return "video/webm" if b"webm" in head[:64] else "video/matroska"
    if head.startswith(b"PAR1") and end.endswith(b"PAR1"):
        return "application/vnd.apache.parquet"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "image/bmp"
    return None


def _text_kind(sample: TextSample) -> str | None:
    if sample.text.startswith("#!"):
        return "text/x-shellscript"
    opening = sample.text[:_MARKUP_CHARACTERS].lstrip()
    if opening.startswith("<"):
        return _markup_kind(opening)
    if opening.startswith(("{", "[")):
        return _json_kind(sample)
    return None


def _markup_kind(opening: str) -> str | None:
    start = _LEADING_COMMENTS.match(opening)
    root = opening[start.end() :] if start else opening
    if _HTML.match(root):
        return "text/html"
    if _SVG.match(root):
        return "image/svg+xml"
    return "application/xml" if opening.startswith("<?xml") else None


def _json_kind(sample: TextSample) -> str | None:
    """JSON, JSON lines, or None. A sample that is cut may end anywhere inside its last value."""
    text = sample.text.strip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        # Cut in a string, or within the longest thing the decoder has to see whole (an escape, a literal).
        cut = error.msg.startswith("Unterminated string") or error.pos >= len(text) - 12
        return "application/json" if cut and not sample.whole else None
    except (RecursionError, ValueError):  # nested too deep; a number of more digits than Python converts
        return None
    rest = text[end:].lstrip(" \t")
    if not rest:
        return "application/json"
    return "application/x-ndjson" if rest[0] in "\r\n" and rest.lstrip()[:1] in ("{", "[") else None


def _by_puremagic(head: bytes, tail: bytes, min_match: int, *, whole: bool) -> Sniffed | None:
    data = head
    if not whole and len(head) >= PUREMAGIC_HEAD_BYTES:
        data = head[:PUREMAGIC_HEAD_BYTES] + tail  # it looks for some signatures at the end
    if not _has_signature(data):
        return None
    try:
        matches = puremagic.magic_string(data)
    except puremagic.PureError:
        return None
    named = [
        (len(m.byte_match), name)
        for m in matches
        if len(m.byte_match) >= min_match and (name := normalise(m.mime_type)) is not None
    ]
    if not named:
        return None
    longest = max(length for length, _ in named)
    candidates = frozenset(name for length, name in named if length == longest)
    return Sniffed(min(candidates), candidates)


def _has_signature(data: bytes) -> bool:
    """Whether puremagic would find anything: it compares 1,400 signatures one by one, for most files in vain."""
    heads, ends = _signatures()
    return any(data.startswith(some, offset) for offset, some in heads) or any(
        data[offset : offset + len(signature) or None] == signature for offset, signature in ends
    )


@cache
def _signatures() -> tuple[list[tuple[int, tuple[bytes, ...]]], list[tuple[int, bytes]]]:
    """Signatures by their offset from the start, and those that are counted from the end."""
    heads: dict[int, list[bytes]] = {}
    for row in magic_header_array:
        heads.setdefault(row.offset, []).append(row.byte_match)
    return (
        [(offset, tuple(some)) for offset, some in heads.items()],
        [(row.offset, row.byte_match) for row in magic_footer_array],
    )
