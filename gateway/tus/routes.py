"""An upload by its address: where it ends, appending, terminating, downloading (section Core Protocol and others)."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from common.errors import (
    ChecksumMismatch,
    DigestMismatch,
    FinalUpload,
    InvalidField,
    UploadEnded,
    UploadNotFinished,
    UploadNotOpen,
    VersionNotSupported,
)
from gateway.api.fields import body_of, content_length
from gateway.dependencies import Appends, Caller, Files, Services, Streams
from gateway.intake import Pieces
from gateway.resources import ENDED, declare, download, present, terminate
from gateway.service.appends import Append, AppendService
from gateway.service.caller import Caller as CallerValue
from gateway.service.streams import StreamStatus
from gateway.tus.answers import abilities, everything, progress
from gateway.tus.checksums import parse_checksum
from gateway.tus.fields import OVERRIDE, VERSION, number, one, require_body_type

_FREE = frozenset({"OPTIONS", "GET"})  # OPTIONS ignores the version; GET is no part of the protocol


async def require_version(request: Request) -> None:
    """Raises VersionNotSupported (section Tus-Resumable). A HEAD without a version asks for the file, unless it came as
    a POST, whose answer says how long its own body is."""
    given = request.headers.get("tus-resumable")
    file_head = given is None and request.method == "HEAD" and OVERRIDE not in request.headers
    if request.method in _FREE or given == VERSION or file_head:
        return
    raise _other_version()


def _other_version() -> VersionNotSupported:
    error = VersionNotSupported(f"Send Tus-Resumable: {VERSION}.")
    error.fields["Tus-Version"] = VERSION
    return error


router = APIRouter(prefix="/tus", include_in_schema=False, dependencies=[Depends(require_version)])


@router.options("")
@router.options("/")
@router.options("/{upload_id}")
async def options(services: Services) -> Response:
    concatenates = services.concatenations.available
    return Response(status_code=204, headers=abilities(services.limits, concatenates=concatenates))


@router.head("/{upload_id}")
async def look(
    upload_id: str, request: Request, caller: Caller, streams: Streams, files: Files, services: Services
) -> Response:
    if "tus-resumable" not in request.headers:
        return await _file_head(upload_id, request, caller, streams, files)
    status = await streams.status(caller, upload_id)
    await present(caller, status.upload, files)
    return Response(status_code=200, headers=everything(status, services.locations.prefix))


async def _file_head(upload_id: str, request: Request, caller: Caller, streams: Streams, files: Files) -> Response:
    """As GET would answer; where there is no file yet, the request can only have been meant for tus."""
    try:
        return await download(request, caller, await streams.load(caller, upload_id), files)
    except UploadNotFinished as error:
        raise _other_version() from error


@router.get("/{upload_id}")
async def get(upload_id: str, request: Request, caller: Caller, streams: Streams, files: Files) -> Response:
    return await download(request, caller, await streams.load(caller, upload_id), files)


@router.patch("/{upload_id}")
async def append(
    upload_id: str,
    request: Request,
    caller: Caller,
    streams: Streams,
    appends: Appends,
    files: Files,
    services: Services,
) -> Response:
    require_body_type(request.headers)
    offset = number(request.headers, "Upload-Offset")
    if offset is None:
        raise InvalidField("Send Upload-Offset: where the bytes of this request begin.")
    length = number(request.headers, "Upload-Length")
    parse_checksum(one(request.headers, "Upload-Checksum"))
    upload = await streams.load(caller, upload_id)
    if upload.parts is not None:
        raise FinalUpload("This upload is made of others; it takes no bytes of its own.")
    await present(caller, upload, files)
    if length is not None:
        await declare(caller, upload, offset, length, streams)
    status = await append_body(request, caller, upload_id, offset, appends)
    return Response(status_code=204, headers=progress(status, services.locations.prefix))


async def append_body(
    request: Request, caller: CallerValue, upload_id: str, offset: int, appends: AppendService
) -> StreamStatus:
    """The body at `offset`, compared with `Upload-Checksum` where there is one. Raises ChecksumMismatch, UploadEnded,
    and what `AppendService.append` raises."""
    declared = parse_checksum(one(request.headers, "Upload-Checksum"))
    wanted = Append(offset, content_length(request), declared)
    try:
        return await appends.append(caller, upload_id, wanted, Pieces(body_of(request)))
    except DigestMismatch as error:
        raise ChecksumMismatch(error.detail, **error.extras) from error
    except UploadNotOpen as error:
        if error.extras.get("state") in ENDED:
            raise UploadEnded("The upload has ended; begin a new one.", **error.extras) from error
        raise


@router.delete("/{upload_id}")
async def delete(upload_id: str, caller: Caller, streams: Streams, files: Files) -> Response:
    await terminate(caller, upload_id, streams, files)
    return Response(status_code=204)
