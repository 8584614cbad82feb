"""What a measurement gives, as it stands in the JSON file: rows of samples, and what could not be measured and why."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import psutil

from bench.apart import DriverError
from bench.rivals.install import Missing

LONG = 5.0  # seconds of one take that are worth a line
FAILURES = (DriverError, Missing, OSError, RuntimeError, subprocess.SubprocessError, psutil.Error)


@dataclass
class Row:
    """Samples of one candidate in one case, all in one unit."""

    case: str
    who: str
    unit: str
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass
class Result:
    """One workload. `skipped` names candidates with the reason; `driver_cpu` is per cent of a core.

    `profiles`: lines of a profile by what was run. The last four say how it was measured, and are set when it is kept.
    """

    conditions: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    driver_cpu: float | None = None
    profiles: dict[str, list[str]] = field(default_factory=dict)
    form: str = ""
    machine: str = ""
    at: str = ""
    load: str = ""

    def row(self, case: str, who: str, unit: str, note: str = "") -> Row:
        """The row of that name, made when it is new."""
        found = self.find(case, who, unit)
        if found is None:
            found = Row(case, who, unit, note=note)
            self.rows.append(found)
        return found

    def find(self, case: str, who: str, unit: str) -> Row | None:
        for row in self.rows:
            if (row.case, row.who, row.unit) == (case, who, unit):
                return row
        return None

    def add(self, case: str, who: str, unit: str, value: float, note: str = "") -> None:
        self.row(case, who, unit, note).values.append(value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, document: dict[str, Any]) -> Result:
        return cls(**{**document, "rows": [Row(**row) for row in document["rows"]]})


@dataclass(frozen=True)
class Take:
    """One thing to do in each round; with `every` 2 in the first, the third and so on. `key` names the candidate."""

    key: str
    run: Callable[[], None]
    every: int = 1


def interleave(takes: Sequence[Take], rounds: int, result: Result, say: Callable[[str], None]) -> None:
    """A B C A B C: what disturbs the machine for a while disturbs all. A candidate that fails is left out from then."""
    gone: set[str] = set()
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for take in takes:
            if take.key in gone or number % take.every:
                continue
            began = time.monotonic()
            try:
                take.run()
            except FAILURES as error:
                gone.add(take.key)
                result.skipped[take.key] = f"failed: {str(error)[:200]}"
                say(f"{take.key} {result.skipped[take.key]}")
            if (took := time.monotonic() - began) > LONG:
                say(f"{take.key} took {took:.0f} s")
