"""A new upload, with or without its first bytes (sections Creation and Creation With Upload)."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter, Depends, Request, Response

from common.errors import (
    BodyIncomplete,
    BodyTimeout,
    InvalidField,
    NotPartial,
    RequestError,
    UploadEnded,
    UploadFinalized,
    UploadNotOpen,
    UploadTooLong,
)
from gateway.api.fields import content_length
from gateway.dependencies import Appends, Caller, Concatenations, Services, Streams
from gateway.resources import has_body
from gateway.service.appends import AppendService
from gateway.service.caller import Caller as CallerValue
from gateway.service.concatenations import ConcatenationService
from gateway.service.requests import Description
from gateway.service.streams import NewStream, StreamService, StreamStatus
from gateway.tus.answers import RECEIVED, progress
from gateway.tus.checksums import parse_checksum
from gateway.tus.concatenation import FIELD as CONCAT
from gateway.tus.concatenation import check_concat, is_final, is_partial, parts_of
from gateway.tus.envelope import PREFIX
from gateway.tus.fields import declared_length, one, require_body_type
from gateway.tus.metadata import FIELD as METADATA
from gateway.tus.metadata import parse_metadata, read
from gateway.tus.routes import append_body, require_version

router = APIRouter(prefix=PREFIX, include_in_schema=False, dependencies=[Depends(require_version)])


@router.post("")
@router.post("/")
async def create(
    request: Request,
    caller: Caller,
    streams: Streams,
    appends: Appends,
    concatenations: Concatenations,
    services: Services,
) -> Response:
    if is_final(one(request.headers, CONCAT)):
        status = await _of_parts(request, caller, concatenations)
    else:
        status = await _of_bytes(request, caller, streams, appends)
    path = f"{PREFIX}/{status.upload.id}"
    location = services.locations.of(path, request.headers, request.scope["client"])
    return Response(status_code=201, headers={"Location": location, **progress(status, services.locations.prefix)})


async def _of_parts(request: Request, caller: CallerValue, concatenations: ConcatenationService) -> StreamStatus:
    """A final upload (section Concatenation). Raises InvalidField, UploadNotFound, UploadEnded."""
    if "upload-length" in request.headers or "upload-defer-length" in request.headers or has_body(request):
        raise InvalidField("A final upload has the length and the bytes of its parts; send neither.")
    new = wanted(request, None)
    assert new.surface is not None
    try:
        return await concatenations.create(caller, new, parts_of(new.surface[CONCAT]))
    except NotPartial as error:
        raise InvalidField(error.detail) from error
    except UploadNotOpen as error:
        raise UploadEnded(error.detail, **error.extras) from error


async def _of_bytes(
    request: Request, caller: CallerValue, streams: StreamService, appends: AppendService
) -> StreamStatus:
    with_bytes = has_body(request)
    if with_bytes:
        require_body_type(request.headers)
    parse_checksum(one(request.headers, "Upload-Checksum"))
    size = declared_length(request.headers)
    if size is not None and (content_length(request) or 0) > size:
        raise UploadTooLong(f"The upload has {size} bytes; the body goes beyond.", size=size)
    status = await streams.create(caller, wanted(request, size))
    if with_bytes:
        status = await _first_bytes(request, caller, status, streams, appends)
    return status


def wanted(request: Request, size: int | None) -> NewStream:
    """What the header fields ask for. Raises InvalidField."""
    concat = one(request.headers, CONCAT)
    check_concat(concat)
    said = read(parse_metadata(one(request.headers, METADATA)))
    received = {name: value for name in RECEIVED if (value := one(request.headers, name)) is not None}
    return NewStream(
        size,
        said.filename,
        said.content_type,
        about=Description(metadata=dict(said.metadata)),
        partial=is_partial(concat),
        surface=received or None,
    )


async def _first_bytes(
    request: Request, caller: CallerValue, status: StreamStatus, streams: StreamService, appends: AppendService
) -> StreamStatus:
    """An upload whose first bytes are refused goes again: the client is not told its address."""
    try:
        return await append_body(request, caller, status.upload.id, 0, appends)
    except (BodyIncomplete, BodyTimeout):
        raise
    except RequestError:
        with suppress(UploadFinalized):  # it has no bytes, and was complete before any came
            await streams.abort(caller, status.upload.id)
        raise
