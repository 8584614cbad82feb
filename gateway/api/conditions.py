"""Conditional requests (RFC 9110 section 13) for a file that never changes: one entity tag, one date. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from common.errors import PreconditionFailed


@dataclass(frozen=True, slots=True)
class Validators:
    """What identifies a file: its strong entity tag, with the quotes, and when it was published."""

    etag: str
    modified: datetime

    def check(self, fields: Mapping[str, str]) -> None:
        """`If-Match`, or else `If-Unmodified-Since` (sections 13.1.1, 13.1.4). Raises PreconditionFailed."""
        wanted = fields.get("if-match")
        if wanted is not None:
            if not self._named_in(wanted, weak=False):
                raise PreconditionFailed("If-Match names other bytes than this file has.")
            return
        since = _date(fields.get("if-unmodified-since"))
        if since is not None and self._second > since:
            raise PreconditionFailed("This file was published after the date in If-Unmodified-Since.")

    def known(self, fields: Mapping[str, str]) -> bool:
        """`If-None-Match`, or else `If-Modified-Since` (sections 13.1.2, 13.1.3): the client has these bytes."""
        given = fields.get("if-none-match")
        if given is not None:
            return self._named_in(given, weak=True)
        since = _date(fields.get("if-modified-since"))
        return since is not None and self._second <= since

    def same_range(self, fields: Mapping[str, str]) -> bool:
        """Whether `If-Range` allows a part (section 13.1.5): it is the very tag or date that we sent, or absent."""
        given = fields.get("if-range")
        return given is None or given.strip() == self.etag or _date(given) == self._second

    @property
    def _second(self) -> datetime:
        return self.modified.replace(microsecond=0)

    def _named_in(self, field: str, *, weak: bool) -> bool:
        if field.strip() == "*":
            return True
        named = (part.strip() for part in field.split(","))  # no tag of ours has a comma
        return any((tag.removeprefix("W/") if weak else tag) == self.etag for tag in named)


def _date(text: str | None) -> datetime | None:
    """An HTTP date; None for what is none: such a field is ignored."""
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None
