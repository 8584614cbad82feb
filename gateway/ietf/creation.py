"""A new upload, whole or with its first bytes or with none (section 4.2)."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter, Request, Response

from common.digests import to_hex
from common.errors import BodyIncomplete, BodyTimeout, InvalidField, RequestError, SluiceError
from gateway.api.disposition import filename_of, parse_parameters
from gateway.api.fields import content_length, merged_digests
from gateway.dependencies import Appends, Caller, Files, Jobs, Services, Streams
from gateway.ietf.answers import limits, progress
from gateway.ietf.appending import append_body, in_words_of_the_draft
from gateway.ietf.dialects import Dialect, dialect_of
from gateway.ietf.fields import PARTIAL_UPLOAD, wanted_digests
from gateway.ietf.final import WANTED, final_answer, is_complete
from gateway.ietf.lengths import declared_length
from gateway.resources import has_body
from gateway.service.caller import Caller as CallerValue
from gateway.service.requests import Description
from gateway.service.streams import NewStream, StreamService
from gateway.tus.metadata import FIELD as METADATA
from gateway.tus.metadata import Said, parse_metadata, read

PREFIX = "/resumable"

router = APIRouter(prefix=PREFIX, include_in_schema=False)
_METHODS = ["POST", "PUT", "PATCH"]


@router.api_route("", methods=_METHODS)
@router.api_route("/", methods=_METHODS)
async def create(
    request: Request,
    caller: Caller,
    streams: Streams,
    appends: Appends,
    services: Services,
    jobs: Jobs,
    files: Files,
) -> Response:
    dialect = dialect_of(request.headers)
    complete = dialect.complete_of(request.headers)
    if complete is None:
        raise InvalidField(f"Send {dialect.completeness}: ?0 or ?1; a file in one plain request goes to /v1/files.")
    where: dict[str, str] = {}
    try:
        status = await streams.create(caller, _wanted(request, dialect, complete=complete))
        path = f"{PREFIX}/{status.upload.id}"
        where["Location"] = services.locations.of(path, request.headers, request.scope["client"])
        if not is_complete(status) and (complete or has_body(request)):
            status = await append_body(
                request, dialect, caller, status.upload.id, 0, complete=complete, streams=streams, appends=appends
            )
    except SluiceError as error:
        await _after(error, caller, where, streams)
        raise in_words_of_the_draft(error, dialect, services.limits) from None
    more, prefix = {**where, **limits(services.limits, status.upload)}, services.locations.prefix
    if is_complete(status):
        return await final_answer(caller, status, dialect, wanted_digests(request.headers), jobs, files, prefix, more)
    return Response(status_code=201, headers={**progress(status, dialect, prefix), **more})


async def _after(error: SluiceError, caller: CallerValue, where: dict[str, str], streams: StreamService) -> None:
    """An upload whose first bytes are refused goes again; of one that broke off is kept what has come, and the client
    is told how to go on, if it still listens."""
    if not where:
        return
    if isinstance(error, RequestError) and not isinstance(error, BodyIncomplete | BodyTimeout):
        await streams.abort(caller, where["Location"].rpartition("/")[2])
    else:
        error.fields |= where


def _wanted(request: Request, dialect: Dialect, *, complete: bool) -> NewStream:
    """What the header fields ask for. Raises InconsistentLength, InvalidDigest."""
    said = _said(request)
    wanted = wanted_digests(request.headers)
    size = declared_length(request.headers, 0, content_length(request), complete=complete)
    return NewStream(
        size,
        filename_of(parse_parameters(request.headers.get("content-disposition", ""))[1]) or said.filename,
        _content_type(request) or said.content_type,
        digests=to_hex(merged_digests([request.headers.getlist("repr-digest")])),
        about=Description(metadata=dict(said.metadata)),
        explicit=not dialect.length_ends,  # section 4.1.2
        surface={WANTED: wanted} if wanted else None,
    )


def _content_type(request: Request) -> str | None:
    """Of the representation: some clients name that of a part already here."""
    given = request.headers.get("content-type", "")
    return None if parse_parameters(given)[0] in ("", PARTIAL_UPLOAD) else given


def _said(request: Request) -> Said:
    """tus-js-client names the file as it does in tus, whatever protocol it is told to speak. The draft knows no such
    field: what is malformed is ignored."""
    with suppress(InvalidField):
        return read(parse_metadata(request.headers.get(METADATA)))
    return Said()
