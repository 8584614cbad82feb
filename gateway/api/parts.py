"""Route of direct uploads: links under which a client sends chunks to the store by itself."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from common import errors
from gateway.api.documented import problems
from gateway.api.numbers import Limit
from gateway.dependencies import Caller, Direct

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

PAGE = 100  # links; signing one costs a fraction of a millisecond of CPU


class PartView(BaseModel):
    index: int = Field(description="The chunk that it is for.")
    offset: int
    size: int
    method: str = "PUT"
    url: str
    headers: dict[str, str] = Field(description="To be sent just so: they are part of the signature.")


class PartPage(BaseModel):
    items: list[PartView] = Field(description="Missing chunks only.")
    expires_at: datetime
    next_cursor: str | None


@router.head("/{upload_id}/parts", include_in_schema=False)
@router.get(
    "/{upload_id}/parts",
    responses=problems(
        errors.UploadNotFound, errors.UploadNotOpen, errors.DirectNotAvailable, errors.StorageUnavailable
    ),
    summary="Links for the chunks of a direct upload",
)
async def get_parts(
    upload_id: str,
    caller: Caller,
    direct: Direct,
    response: Response,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before, or a chunk's index.")] = None,
    limit: Limit = PAGE,
) -> PartPage:
    """Where to send the chunks that are missing. Whoever has a link can use it, so treat it as a secret."""
    response.headers["Cache-Control"] = "no-store"
    page = await direct.page(caller, upload_id, cursor, limit)
    items = [
        PartView(index=item.index, offset=item.offset, size=item.length, url=item.url, headers=item.headers)
        for item in page.items
    ]
    return PartPage(items=items, expires_at=page.expires_at, next_cursor=page.next_cursor)
