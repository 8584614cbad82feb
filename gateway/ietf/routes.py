"""An upload resource: where it ends, appending, cancelling, downloading (sections 4.3 to 4.5)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from common.db.models import Upload
from common.errors import CompletedUpload, ContentTypeRefused, InconsistentLength, InvalidField, SluiceError
from gateway.api.disposition import parse_parameters
from gateway.api.fields import content_length
from gateway.dependencies import Appends, Caller, Files, Jobs, Services, Streams
from gateway.ietf.answers import digests, length, limits, progress
from gateway.ietf.appending import append_body, in_words_of_the_draft
from gateway.ietf.creation import PREFIX
from gateway.ietf.dialects import Dialect, dialect_of
from gateway.ietf.fields import PARTIAL_UPLOAD, integer, wanted_digests
from gateway.ietf.final import WANTED, final_answer, is_complete
from gateway.ietf.lengths import declared_length
from gateway.resources import DONE, declare, download, has_body, present, terminate

router = APIRouter(prefix=PREFIX, include_in_schema=False)

_NOT_IN_HEAD = ("upload-offset", "upload-complete", "upload-incomplete")


@router.options("")
@router.options("/")
@router.options("/{upload_id}")
async def options(services: Services) -> Response:
    """The limits before there is an upload (section 4.1.4)."""
    return Response(status_code=204, headers={"Accept-Patch": PARTIAL_UPLOAD, **limits(services.limits)})


@router.head("/{upload_id}")
async def look(
    upload_id: str, request: Request, caller: Caller, streams: Streams, files: Files, services: Services
) -> Response:
    dialect = dialect_of(request.headers)
    if any(name in request.headers for name in _NOT_IN_HEAD):
        raise InvalidField("A HEAD asks where the upload ends; it must not say so itself.")
    status = await streams.status(caller, upload_id)
    file = await present(caller, status.upload, files)
    known = {**length(status.upload), **limits(services.limits, status.upload), **digests(file)}
    fields = {**progress(status, dialect, services.locations.prefix), **known, "Cache-Control": "no-store"}
    return Response(status_code=204, headers=fields)


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
    services: Services,
    jobs: Jobs,
    files: Files,
) -> Response:
    dialect = dialect_of(request.headers)
    _require_type(request, dialect)
    offset = integer(request.headers, "Upload-Offset")
    if offset is None:
        raise InvalidField("Send Upload-Offset: where the bytes of this request begin.")
    complete = _complete_of(request, dialect, offset)
    try:
        upload = await streams.load(caller, upload_id)
        await present(caller, upload, files)
        _require_incomplete(upload, dialect, request)
        size = declared_length(request.headers, offset, content_length(request), complete=complete)
        if size is not None:
            await declare(caller, upload, offset, size, streams)
        status = await append_body(
            request, dialect, caller, upload_id, offset, complete=complete, streams=streams, appends=appends
        )
    except SluiceError as error:
        raise in_words_of_the_draft(error, dialect, services.limits) from None
    if is_complete(status):
        remembered = (status.upload.surface or {}).get(WANTED, [])
        wanted = wanted_digests(request.headers) or remembered
        return await final_answer(caller, status, dialect, wanted, jobs, files, services.locations.prefix, {})
    fields = {**progress(status, dialect, services.locations.prefix), **limits(services.limits, status.upload)}
    return Response(status_code=dialect.appended_status, headers=fields)


def _require_type(request: Request, dialect: Dialect) -> None:
    """Raises ContentTypeRefused."""
    if dialect.partial_type and parse_parameters(request.headers.get("content-type", ""))[0] != PARTIAL_UPLOAD:
        error = ContentTypeRefused(f"Send the bytes with Content-Type: {PARTIAL_UPLOAD}.")
        error.fields["Accept-Patch"] = PARTIAL_UPLOAD  # RFC 5789 section 2.2
        raise error


def _complete_of(request: Request, dialect: Dialect, offset: int) -> bool:
    """Whether these are the last bytes. Raises InvalidField where the request does not say."""
    complete = dialect.complete_of(request.headers)
    if complete is not None:
        return complete
    if not has_body(request) and integer(request.headers, "Upload-Length") == offset:
        # tus-js-client at the end of a stream whose length is a multiple of its chunks: it names the length only
        return True
    raise InvalidField(f"Send {dialect.completeness}: ?0 or ?1.")


def _require_incomplete(upload: Upload, dialect: Dialect, request: Request) -> None:
    """Raises what an append to a complete upload is answered with (section 4.4.2)."""
    if upload.state not in DONE:
        return
    error: InconsistentLength | CompletedUpload
    if has_body(request):
        error = InconsistentLength("The upload is complete; it takes no more bytes.")
    else:
        error = CompletedUpload("The upload is complete; ask for its job.")
    error.fields |= {"Upload-Offset": str(upload.size or 0), **dialect.fields(complete=True)}
    raise error


@router.delete("/{upload_id}")
async def cancel(upload_id: str, caller: Caller, streams: Streams, files: Files) -> Response:
    await terminate(caller, upload_id, streams, files)
    return Response(status_code=204)
