"""Numbers in addresses and queries: digits and nothing else. `int` would take ` 1_0` and `1.0` as well."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BeforeValidator

_INDEX = re.compile(
    r"0|[1-9][0-9]{0,99}"
)  # far beyond every upload: out of range, and no number that takes long to read
_LIMIT = re.compile(r"[0-9]{1,9}")


def _index(text: Any) -> int:
    if not _INDEX.fullmatch(str(text)):
        raise ValueError("must be a number from 0, written in digits without leading zeros")
    return int(text)


def _limit(text: Any) -> int:
    if not _LIMIT.fullmatch(str(text)):
        raise ValueError("must be a number written in digits")
    return int(text)


Index = Annotated[int, BeforeValidator(_index), Path(description="From 0.")]
"""Of a chunk: one way to write each, so that one chunk has one address."""

PartNumber = Annotated[int, BeforeValidator(_index), Path(ge=1, description="From 1.")]
"""Of a part: a chunk as S3 counts them."""

Limit = Annotated[int, BeforeValidator(_limit), Query(ge=1, le=1000, description="Most items of the page.")]
