"""Routes of published files: list, look at, change, delete."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator

from common import errors
from common.db.files import FileFilter
from gateway.api.documented import problems
from gateway.api.numbers import Limit
from gateway.api.schemas import FilePage, FilePatch, FileView
from gateway.dependencies import Caller, Files, Services
from gateway.service.requests import is_storable

router = APIRouter(prefix="/v1/files", tags=["files"])


def _in_utc(moment: datetime) -> datetime:
    """A time without an offset is taken as UTC."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError("is not a time of this calendar") from error


def _storable(text: str) -> str:
    if not is_storable(text):
        raise ValueError("must not contain NUL")
    return text


Moment = Annotated[datetime, AfterValidator(_in_utc)]
Text = Annotated[str, AfterValidator(_storable)]


@router.head("", include_in_schema=False)
@router.get("", responses=problems(), summary="Files, newest first")
async def list_files(
    caller: Caller,
    files: Files,
    services: Services,
    cursor: str | None = None,
    limit: Limit = 100,
    filename: Annotated[Text | None, Query(description="The exact name.")] = None,
    tag: Annotated[Text | None, Query(description="`key=value`, or `key` for any value.")] = None,
    content_type: Text | None = None,
    created_after: Moment | None = None,
    created_before: Moment | None = None,
) -> FilePage:
    key, equals, value = (tag or "").partition("=")
    wanted = FileFilter(
        filename=filename,
        content_type=content_type,
        tag=(key, value if equals else None) if tag else None,
        created_after=created_after,
        created_before=created_before,
    )
    page = await files.page(caller, wanted, cursor, limit)
    prefix = services.locations.prefix
    return FilePage(items=[FileView.of(file, prefix) for file in page.items], next_cursor=page.next_cursor)


@router.head("/{file_id}", include_in_schema=False)
@router.get("/{file_id}", responses=problems(errors.FileNotFound), summary="What is known of a file")
async def get_file(file_id: str, caller: Caller, files: Files, services: Services) -> FileView:
    return FileView.of(await files.get(caller, file_id), services.locations.prefix)


@router.patch(
    "/{file_id}",
    responses=problems(errors.FileNotFound, errors.MetadataTooLarge),
    summary="Change description, tags, metadata",
)
async def patch_file(file_id: str, body: FilePatch, caller: Caller, files: Files, services: Services) -> FileView:
    return FileView.of(await files.change(caller, file_id, body.given()), services.locations.prefix)


@router.delete("/{file_id}", status_code=204, responses=problems(errors.FileNotFound), summary="Delete a file")
async def delete_file(file_id: str, caller: Caller, files: Files) -> None:
    await files.delete(caller, file_id)
