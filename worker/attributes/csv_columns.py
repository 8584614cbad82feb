"""Delimiter, header and column names of a CSV sample.

The standard library's csv.Sniffer is not used: its patterns take quadratic time on hostile quotes, and it guesses
letters as delimiters. Instead the sample is parsed once per usual delimiter, each in linear time, and the most
regular result wins.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

MAX_COLUMNS = 1_000
MAX_NAME_LENGTH = 255
"""Characters of a column name that are kept."""

_SAMPLE_CHARACTERS = 64 * 1024
_DELIMITERS = ("\t", ";", "|", ",")  # a comma comes last: it is also the decimal sign of half the world
_MIN_REGULAR_SHARE = 0.8
_MIN_ROWS_UNASKED = 3
_NUMBER = re.compile(r"[+-]?[\d.,\s]*\d[\d.,\s]*(?:[eE][+-]?\d{1,4})?%?")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ][\d:.+Z-]*)?")


@dataclass(frozen=True, slots=True)
class CsvShape:
    """`delimiter` is None for one column; `columns` are at most MAX_COLUMNS names, none without a header."""

    delimiter: str | None
    has_header: bool
    column_count: int
    columns: tuple[str, ...]


def read_columns(text: str, *, whole: bool, expected: bool) -> CsvShape | None:
    """The shape of the CSV that `text` begins with, or None where it is none.

    `expected` says that the name or the declared type claims CSV; without such a claim only text whose rows are
    all equally wide passes, so that prose with commas does not. `whole` says that `text` is not cut. Never raises
    on the content.
    """
    whole = whole and len(text) <= _SAMPLE_CHARACTERS
    text = text[:_SAMPLE_CHARACTERS]
    best: tuple[float, str, list[list[str]]] | None = None
    for delimiter in _DELIMITERS:
        rows = _parse(text, delimiter, whole=whole)
        if not rows:
            continue
        share = _regular_share(rows)
        if best is None or share > best[0]:
            best = (share, delimiter, rows)
    if best is not None and _is_convincing(*best, expected=expected):
        return _shape(best[2], best[1])
    return _single_column(text, whole=whole) if expected else None


def _parse(text: str, delimiter: str, *, whole: bool) -> list[list[str]]:
    try:
        rows = list(csv.reader(StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        return []
    if not whole:
        rows = rows[:-1]  # the cut goes through the last row
    return [row for row in rows if row]


def _regular_share(rows: list[list[str]]) -> float:
    """The share of rows as wide as the first one; 0 where that is one column."""
    width = len(rows[0])
    return sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0


def _is_convincing(share: float, delimiter: str, rows: list[list[str]], *, expected: bool) -> bool:
    if expected:
        return share >= _MIN_REGULAR_SHARE
    if share < 1 or len(rows) < _MIN_ROWS_UNASKED or delimiter == "|":  # bars also draw Markdown tables
        return False
    if not all(any(column) for column in zip(*rows, strict=True)):  # program text: `;` ends every line
        return False
    # In prose a blank follows the comma.
    cells = [cell for row in rows for cell in row[1:] if cell]
    return delimiter != "," or sum(cell[0] == " " for cell in cells) * 2 < len(cells)


def _single_column(text: str, *, whole: bool) -> CsvShape | None:
    rows = _parse(text, ",", whole=whole)
    if not rows or Counter(map(len, rows)).most_common(1)[0][0] != 1:
        return None
    return _shape(rows, None)


def _shape(rows: list[list[str]], delimiter: str | None) -> CsvShape:
    header = _has_header(rows)
    names = tuple(_clean(cell) for cell in rows[0][:MAX_COLUMNS]) if header else ()
    return CsvShape(delimiter, header, len(rows[0]), names)


def _has_header(rows: Sequence[list[str]]) -> bool:
    """Names are filled, distinct, neither numbers nor dates, and do not come back as values of their own column."""
    first = [cell.strip() for cell in rows[0]]
    named = first[1:] if len(first) > 1 and not first[0] else first  # an unnamed index column is usual
    if not all(named) or len(set(named)) != len(named):
        return False
    if any(_NUMBER.fullmatch(cell[:64]) or _DATE.fullmatch(cell[:64]) for cell in named):
        return False
    return not any(cell and cell.strip() == name for row in rows[1:] for cell, name in zip(row, first, strict=False))


def _clean(cell: str) -> str:
    # Control characters do not survive the trip: PostgreSQL refuses U+0000 inside JSON.
    return "".join(c for c in cell[: MAX_NAME_LENGTH * 2] if c.isprintable()).strip()[:MAX_NAME_LENGTH]
