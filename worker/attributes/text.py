"""Is a sample text, and in which encoding? Byte order mark, then strict UTF-8, then UTF-16, then older encodings."""

import codecs
from dataclasses import dataclass

import charset_normalizer

SAMPLE_BYTES = 64 * 1024
"""Bytes of the head that are decoded: enough for a CSV header of 1,000 columns."""

_LEGACY_SAMPLE_BYTES = 16 * 1024
"""Bytes given to the statistical guess, which costs far more per byte than decoding."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32le"),  # before UTF-16: its mark begins with the one of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32be"),
    (codecs.BOM_UTF16_LE, "utf-16le"),
    (codecs.BOM_UTF16_BE, "utf-16be"),
)

_CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\v\f\r\b\x1b"))
"""Bytes that text does not have: C0 without white space, backspace and escape."""

_MAX_CONTROL_SHARE = 0.1
"""Valid UTF-8 may carry some controls (FIX logs separate fields by 0x01); random bytes are not UTF-8."""

# Python codec -> IANA name. A short list of what people really have: with every code page of the world as a
# candidate the guess for short texts is near random.
_LEGACY = {
    "cp1252": "windows-1252",
    "cp1250": "windows-1250",
    "cp1251": "windows-1251",
    "koi8_r": "koi8-r",
    "cp1253": "windows-1253",
    "cp1254": "windows-1254",
    "cp1255": "windows-1255",
    "cp1256": "windows-1256",
    "cp932": "shift_jis",
    "euc_jp": "euc-jp",
    "gb18030": "gb18030",
    "big5": "big5",
    "cp949": "euc-kr",
}
_C1 = bytes(range(0x80, 0xA0))


@dataclass(frozen=True, slots=True)
class TextSample:
    """`encoding` is an IANA name; `text` is the decoded head without the mark; `whole` if it is the entire file."""

    encoding: str
    bom: bool
    text: str
    whole: bool


def read_text(head: bytes, tail: bytes, *, whole: bool) -> TextSample | None:
    """Decode the head of a file, or None where the bytes are not text.

    `whole` says that `head` is the entire file. `tail`, the last bytes of a longer file, keeps a text header before a
    binary body (self-extracting scripts) from passing as text. Never raises on what the bytes contain.
    """
    if len(head) > SAMPLE_BYTES:
        head, tail, whole = head[:SAMPLE_BYTES], tail or head[SAMPLE_BYTES:], False
    if not head:
        return None
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            text = _decode(head[len(mark) :], encoding, whole=whole)
            return TextSample(encoding, True, text, whole) if text is not None and _is_clean(text) else None
    if b"\0" in head:
        return _read_utf16(head, whole=whole)
    if _control_share(head) > _MAX_CONTROL_SHARE or _control_share(tail) > _MAX_CONTROL_SHARE or b"\0" in tail:
        return None
    text = _decode(head, "utf-8", whole=whole)
    tail_fits = _decode(_from_character_start(tail), "utf-8", whole=True) is not None
    if text is not None and tail_fits:
        return TextSample("utf-8", False, text, whole)
    return _read_legacy(head, evidence=tail if text is not None else head, tail=tail, whole=whole)


def _decode(data: bytes, encoding: str, *, whole: bool) -> str | None:
    # An incremental decoder that is not told `final` accepts a character cut by the end of the sample.
    try:
        return codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
    except UnicodeDecodeError:
        return None


def _from_character_start(tail: bytes) -> bytes:
    """Without the up to three continuation bytes of a UTF-8 character that begins before the sample."""
    start = 0
    while start < min(3, len(tail)) and 0x80 <= tail[start] < 0xC0:
        start += 1
    return tail[start:]


def _control_share(data: bytes) -> float:
    return 1 - len(data.translate(None, _CONTROLS)) / len(data) if data else 0.0


def _is_clean(text: str) -> bool:
    return _control_share(text.encode("utf-8", errors="replace")) <= _MAX_CONTROL_SHARE and "\0" not in text


def _read_utf16(head: bytes, *, whole: bool) -> TextSample | None:
    """UTF-16 without a mark: mostly Latin text, whose zero bytes all stand on one side of the pairs."""
    pairs = len(head) // 2
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd >= pairs * 0.6 and even == 0:
        encoding = "utf-16le"
    elif even >= pairs * 0.6 and odd == 0:
        encoding = "utf-16be"
    else:
        return None
    text = _decode(head, encoding, whole=whole)
    return TextSample(encoding, False, text, whole) if text and _is_clean(text) else None


def _read_legacy(head: bytes, *, evidence: bytes, tail: bytes, whole: bool) -> TextSample | None:
    if _control_share(head) or _control_share(tail):
        return None
    codec = _guess_codec(evidence)
    if codec is None:
        return None
    encoding = _LEGACY[codec]
    if codec == "cp1252" and len(evidence) == len(evidence.translate(None, _C1)):
        encoding = "iso-8859-1"  # the two differ only in 0x80-0x9F, which this text does not use
    return TextSample(encoding, False, head.decode(codec, errors="replace"), whole)


def _guess_codec(evidence: bytes) -> str | None:
    sample = evidence[:_LEGACY_SAMPLE_BYTES]
    if len(sample) >= _LEGACY_SAMPLE_BYTES:
        # A multi-byte character cut in two would rule out its encoding: end at a line, if there is one.
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    try:
        matches = charset_normalizer.from_bytes(sample, cp_isolation=list(_LEGACY), enable_fallback=False)
    except (ValueError, LookupError):  # UnicodeError is a ValueError; a codec this interpreter lacks
        return None
    best = matches.best()
    if best is None:
        return None
    # Western and Central European text often score the same; Western is then the likelier one.
    tied = {best.encoding, *best.could_be_from_charset}
    tied.update(m.encoding for m in matches if (m.chaos, m.coherence) == (best.chaos, best.coherence))
    codec = "cp1252" if best.encoding == "cp1250" and "cp1252" in tied else best.encoding
    return codec if codec in _LEGACY else None
