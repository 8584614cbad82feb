"""What user commands print: tables for people on stdout, JSON lines for programs, progress and errors on stderr."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_STEP = 1024
_WHOLE = frozenset({"id", "kind", "state", "size", "created"})  # columns whose cells stay on one line
_PIPE_WIDTH = 400  # characters; a program that reads the table wants each row on one line
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(value: Mapping[str, Any]) -> None:
    """One object on one line of stdout."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def complain(line: str) -> None:
    """One line on stderr; control characters from the server are not passed to the terminal."""
    sys.stderr.write(f"sluice: {plain(line)}\n")


def plain(text: str) -> str:
    """Text from elsewhere made safe for a terminal: no control or direction-changing characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def human_size(size: int) -> str:
    """Bytes in the unit a person would choose, e.g. `256.0 MiB`."""
    amount = float(size)
    for unit in _UNITS:
        if amount < _STEP or unit == _UNITS[-1]:
            break
        amount /= _STEP
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


def local_time(moment: datetime | None) -> str:
    """A time in the reader's zone, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


class Rows:
    """A table without borders, printed when all rows are there; ids are never cut."""

    def __init__(self, *columns: str) -> None:
        self._table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in columns:
            self._table.add_column(name, overflow="fold", no_wrap=name in _WHOLE)

    def add(self, *cells: str) -> None:
        self._table.add_row(*(Text(plain(cell)) for cell in cells))

    def print(self) -> None:
        Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(self._table)
