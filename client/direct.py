"""Links under which chunks go straight to the store: fetched page by page as they are needed, and again when they have
run out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from client.errors import SluiceApiError, SluiceProtocolError
from client.models import Json, parse_time

MARGIN = timedelta(seconds=60)
"""A link that ends sooner is not used: the store looks at it when the request begins, and clocks differ."""


@dataclass(frozen=True)
class Link:
    """Where one chunk goes. Whoever has it can use it, so it is in no message and no log."""

    index: int
    size: int
    url: str
    headers: Mapping[str, str]
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Link(index={self.index}, size={self.size})"


def parse_links(body: Json) -> tuple[Link, ...]:
    """The links of one page."""
    expires_at = parse_time(body.get("expires_at"))
    if expires_at is None:
        raise SluiceProtocolError("a page of links does not say until when they are good")
    try:
        return tuple(
            Link(int(item["index"]), int(item["size"]), str(item["url"]), dict(item.get("headers") or {}), expires_at)
            for item in body.get("items") or ()
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SluiceProtocolError("a page of links is not of the agreed form") from error


class Api(Protocol):
    """The call needed here."""

    async def parts_page(self, upload_id: str, *, cursor: str | None = None) -> tuple[Link, ...]: ...


class Links:
    """The links of one upload that are known. Several connections ask at once; one of them fetches."""

    def __init__(self, api: Api, upload_id: str) -> None:
        self._api = api
        self._upload_id = upload_id
        self._known: dict[int, Link] = {}
        self._fetching = asyncio.Lock()

    async def link(self, index: int) -> Link:
        """Raises SluiceApiError; `upload_not_open` where the server does not miss this chunk any more."""
        async with self._fetching:
            link = self._good(index)
            if link is None:
                page = await self._api.parts_page(self._upload_id, cursor=str(index))
                self._known.update({found.index: found for found in page})
                link = self._good(index)
        if link is None:
            raise SluiceApiError(409, "upload_not_open", detail=f"the server has no link for chunk {index}")
        return link

    def forget(self, index: int) -> None:
        """This one was used, or was refused."""
        self._known.pop(index, None)

    def _good(self, index: int) -> Link | None:
        link = self._known.get(index)
        return link if link is not None and link.expires_at > datetime.now(UTC) + MARGIN else None
