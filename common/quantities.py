"""Types of settings values: sizes (`64MiB`), durations (`30`, `15m`, `24h`) and comma-separated names. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "kb": 10**3,
    "mb": 10**6,
}
_SIZE_UNITS |= {"gb": 10**9, "tb": 10**12}
_TIME_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)


def _split(text: str, units: dict[str, Any]) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2].lower() not in units:
        shown = ", ".join(unit for unit in units if unit)
        raise ValueError(f"must be a number with one of these units or none: {shown}")
    return float(match[1]) * float(units[match[2].lower()])


def parse_size(value: Any) -> Any:
    """Bytes of `1048576`, `1MiB`, `1.5 GB`."""
    if not isinstance(value, str):
        return value
    return int(value) if value.strip().isdecimal() else int(_split(value, _SIZE_UNITS))


def parse_seconds(value: Any) -> Any:
    """Seconds of `30`, `0.5`, `250ms`, `15m`, `24h`, `7d`."""
    return _split(value, _TIME_UNITS) if isinstance(value, str) else value


def parse_names(value: Any) -> Any:
    """Lower-case names of `csv, .PDF,png`, without dots and blanks."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip().lstrip(".").lower() for part in value.split(",") if part.strip())


Size = Annotated[int, BeforeValidator(parse_size)]
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_names)]
