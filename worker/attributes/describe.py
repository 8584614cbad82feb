"""The attributes of one file, put together from a sample of its head and its tail."""

from typing import TypedDict

from worker.attributes.csv_columns import MAX_COLUMNS, CsvShape, read_columns
from worker.attributes.image import read_dimensions
from worker.attributes.lines import LineCounter, LineEnding
from worker.attributes.media_types import compatible_types, extension_type, is_textual, normalise
from worker.attributes.sniff import Sniffed, detect_type
from worker.attributes.text import TextSample, read_text

HEAD_BYTES = 256 * 1024
"""How much of the beginning is worth reading: camera JPEGs carry EXIF and colour profiles before their size."""
TAIL_BYTES = 4 * 1024
"""How much of the end is worth reading: it shows whether text goes on to the end, and holds footers."""

_CSV_TYPES = frozenset({"text/csv", "text/tab-separated-values"})


class Attributes(TypedDict, total=False):
    """What is known about a file, ready for JSON. What is not known is absent.

    `line_count` and `line_ending` of a file longer than its head are added by the caller with line_counter_for().
    `width` and `height` are pixels; `column_count` and `columns` describe the first row of a CSV.
    """

    detected_type: str
    extension_type: str
    declared_type: str
    type_mismatch: bool
    encoding: str
    byte_order_mark: bool
    line_count: int
    line_ending: LineEnding
    width: int
    height: int
    delimiter: str
    has_header: bool
    column_count: int
    columns: list[str]
    columns_truncated: bool


def describe(head: bytes, tail: bytes, size: int, declared_type: str | None, filename: str) -> Attributes:
    """Describe a file of `size` bytes from its first HEAD_BYTES and last TAIL_BYTES; more is cut off, less is worse.

    `declared_type` is what the client called it, `filename` the name it gave; both may be anything. Takes some
    milliseconds of CPU; never raises on what the bytes or names contain.
    """
    head = head[: max(0, min(HEAD_BYTES, size))]
    whole = size <= len(head)
    tail = b"" if whole else tail[-TAIL_BYTES:]
    declared, extension = normalise(declared_type), extension_type(filename)
    claims = [claim for claim in (declared, extension) if claim is not None]
    text = read_text(head, tail, whole=whole)
    sniffed = detect_type(head, tail, text, whole=whole)
    shape = _csv_shape(sniffed, text, claims)
    if shape is not None and shape.delimiter is not None:
        sniffed = _as_table(shape)

    attributes = Attributes(detected_type=sniffed.media_type, type_mismatch=_contradicts(sniffed, claims))
    if declared is not None:
        attributes["declared_type"] = declared
    if extension is not None:
        attributes["extension_type"] = extension
    if text is not None and any(map(is_textual, sniffed.candidates)):
        _add_text(attributes, text, head, whole=whole)
    if shape is not None:
        _add_columns(attributes, shape)
    dimensions = read_dimensions(head, sniffed.media_type)
    if dimensions is not None:
        attributes["width"], attributes["height"] = dimensions
    return attributes


def line_counter_for(attributes: Attributes) -> LineCounter | None:
    """A counter to feed with the whole file, or None where there is nothing (more) to count.

    The caller adds its result: `attributes.update(counter.result())`.
    """
    encoding = attributes.get("encoding")
    return None if encoding is None or "line_count" in attributes else LineCounter(encoding)


def _contradicts(sniffed: Sniffed, claims: list[str]) -> bool:
    return not all(any(compatible_types(found, claim) for found in sniffed.candidates) for claim in claims)


def _csv_shape(sniffed: Sniffed, text: TextSample | None, claims: list[str]) -> CsvShape | None:
    if text is None or "text/plain" not in sniffed.candidates:
        return None
    return read_columns(text.text, whole=text.whole, expected=not _CSV_TYPES.isdisjoint(claims))


def _as_table(shape: CsvShape) -> Sniffed:
    name = "text/tab-separated-values" if shape.delimiter == "\t" else "text/csv"
    return Sniffed(name, frozenset({name}))


def _add_text(attributes: Attributes, text: TextSample, head: bytes, *, whole: bool) -> None:
    attributes["encoding"] = text.encoding
    if text.bom:
        attributes["byte_order_mark"] = True
    if whole:
        counter = LineCounter(text.encoding)
        counter.update(head)
        attributes.update(counter.result())  # type: ignore[typeddict-item]


def _add_columns(attributes: Attributes, shape: CsvShape) -> None:
    if shape.delimiter is not None:
        attributes["delimiter"] = shape.delimiter
    attributes["has_header"] = shape.has_header
    attributes["column_count"] = shape.column_count
    if shape.has_header:
        attributes["columns"] = list(shape.columns)
        if shape.column_count > MAX_COLUMNS:
            attributes["columns_truncated"] = True
