"""Keyset pages: newest first, positioned by (created_at, id), the cursor opaque to clients."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from common.errors import InvalidRequest
from common.ids import is_id

STEP = 100  # rows of one statement: what a process holds beyond the bytes of a page


class Positioned(Protocol):
    """What a page may be made of."""

    created_at: Any
    id: Any


Row = TypeVar("Row", bound=Positioned)
Fetch = Callable[[str | None, int], Awaitable["Page[Row]"]]
"""(cursor, limit) -> the next rows."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row of the page before."""

    created_at: datetime
    id: str

    def encode(self) -> str:
        text = f"{self.created_at.isoformat()}|{self.id}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Raises InvalidRequest for anything that `encode` did not make."""
        try:
            plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            moment, _, row = plain.partition("|")
            created_at = datetime.fromisoformat(moment)
            in_utc = created_at.astimezone(UTC)
        except (ValueError, OverflowError, binascii.Error) as error:
            raise InvalidRequest("The cursor is not one that this service gave; start without one.") from error
        if created_at.tzinfo is None or not is_id(row):
            raise InvalidRequest("The cursor is not one that this service gave; start without one.")
        return cls(in_utc, row)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows and the cursor of the next page; None on the last."""

    items: list[Row]
    next_cursor: str | None


def newest_first(
    query: Select[Any],
    created_at: InstrumentedAttribute[datetime],
    row_id: InstrumentedAttribute[str],
    cursor: Cursor | None,
    limit: int,
) -> Select[Any]:
    """One page of `limit` rows plus one more, which tells whether there is a next page."""
    if cursor is not None:
        query = query.where(tuple_(created_at, row_id) < (cursor.created_at, cursor.id))
    return query.order_by(created_at.desc(), row_id.desc()).limit(limit + 1)


async def bounded(
    fetch: Fetch[Row], cursor: str | None, limit: int, weigh: Callable[[Row], int], most: int
) -> Page[Row]:
    """A page of at most `limit` rows that ends with the row that brings it to `most` bytes, as `weigh` counts them."""
    rows: list[Row] = []
    weight = 0
    while True:
        page = await fetch(cursor, min(STEP, limit - len(rows)))
        for row in page.items:
            rows.append(row)
            weight += weigh(row)
            if weight >= most:
                last = row is page.items[-1] and page.next_cursor is None
                return Page(rows, None if last else Cursor(row.created_at, row.id).encode())
        cursor = page.next_cursor
        if cursor is None or len(rows) >= limit:
            return Page(rows, cursor)
