"""Routes that take whole files in one request: a raw body, or a form with one or many files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from common import errors
from common.db.models import Job
from common.settings import LimitsSettings
from gateway.api.disposition import disposition_filename, parse_parameters
from gateway.api.documented import problems
from gateway.api.fields import DIGEST_FIELDS, body_of, content_digest, content_length
from gateway.api.form_fields import about_of
from gateway.api.forms import FormReader, Part, read_field
from gateway.api.jobs import queued_answer
from gateway.api.schemas import AcceptedFile, AcceptedFiles, JobView
from gateway.dependencies import Caller, Ingest, Jobs, Services
from gateway.intake import Pieces
from gateway.service.caller import Caller as CallerValue
from gateway.service.ingest import Accepted, Delivery, IngestService
from gateway.service.requests import Description, parse_tags

router = APIRouter(prefix="/v1/files", tags=["files"])

MAX_FIELDS = 100  # form fields of one request
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "properties": {
            "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "client_id": {"type": "string"},
            "timestamp": {"type": "string"},
            "tags": {"type": "string", "description": "A JSON object, or `key=value,other`."},
            "description": {"type": "string"},
            "metadata": {"type": "string", "description": "A JSON object; other fields become members of it."},
        },
    }
}
_ERRORS = (
    errors.InvalidFilename,
    errors.InvalidDigest,
    errors.DigestMismatch,
    errors.MetadataTooLarge,
    errors.BodyIncomplete,
    errors.FileTooLarge,
    errors.ExtensionNotAllowed,
    errors.StorageUnavailable,
    errors.InsufficientStorage,
)


@router.post(
    "",
    status_code=202,
    response_model=JobView | AcceptedFiles,
    responses={
        200: {"model": JobView, "description": "The job of the one file has ended: `Prefer: wait` asked for that."},
        **problems(*_ERRORS),
    },
    openapi_extra={"requestBody": {"content": {"*/*": _BINARY, "multipart/form-data": _FORM}}},
    summary="Send whole files in one request",
)
async def post_files(
    request: Request,
    caller: Caller,
    ingest: Ingest,
    jobs: Jobs,
    services: Services,
    response: Response,
    filename: Annotated[str | None, Query(description="Instead of Content-Disposition.")] = None,
    tag: Annotated[list[str] | None, Query(description="`key=value`, repeated; raw body only.")] = None,
    description: Annotated[str | None, Query(description="Raw body only.")] = None,
) -> JobView | AcceptedFiles:
    """A raw body is one file: its type in `Content-Type`, its name in `Content-Disposition` (RFC 6266) or `?filename=`;
    the answer is the job, with `Prefer: wait=20` (RFC 7240) at its end if that comes within 20 seconds. A
    `multipart/form-data` body brings one or many files and fields that hold for all of them; the answer lists the jobs.
    All files of a request are taken or none."""
    content_type = request.headers.get("content-type", "")
    if parse_parameters(content_type)[0] == "multipart/form-data":
        return await _take_form(request, caller, ingest, services.settings.limits)
    named = filename or disposition_filename(request.headers.get("content-disposition"))
    about = Description(description, {}, parse_tags(tag or []))
    job = await _take_one(request, caller, ingest, named, content_type or None, about)
    return await queued_answer(request, response, caller, jobs, job, services.locations.prefix)


async def _take_one(
    request: Request,
    caller: CallerValue,
    ingest: IngestService,
    filename: str,
    content_type: str | None,
    about: Description,
) -> Job:
    length, declared, pieces = content_length(request), content_digest(request), Pieces(body_of(request))
    if length is not None and ingest.takes_whole(length):
        return await ingest.take_whole(
            caller, pieces, filename=filename, content_type=content_type, about=about, length=length, declared=declared
        )
    async with _delivered(ingest, caller) as delivery:
        await ingest.receive(
            caller,
            delivery,
            pieces,
            filename=filename,
            content_type=content_type,
            length=length,
            declared=declared,
        )
        (accepted,) = await ingest.accept(caller, delivery, about)
        return accepted.job


async def _take_form(
    request: Request, caller: CallerValue, ingest: IngestService, limits: LimitsSettings
) -> AcceptedFiles:
    async with _delivered(ingest, caller) as delivery:
        about = await _read_form(request, caller, ingest, delivery, limits)
        accepted = await ingest.accept(caller, delivery, about)
        return AcceptedFiles(files=[_accepted(item) for item in accepted])


@asynccontextmanager
async def _delivered(ingest: IngestService, caller: CallerValue) -> AsyncIterator[Delivery]:
    """The files of one request; whatever ends it early, nothing of them is left behind."""
    delivery = Delivery()
    try:
        yield delivery
    except errors.DatabaseUnavailable:
        ingest.discard_later(caller, delivery)
        raise
    except BaseException:
        await ingest.discard(caller, delivery)
        raise


async def _read_form(
    request: Request, caller: CallerValue, ingest: IngestService, delivery: Delivery, limits: LimitsSettings
) -> Description:
    """Store every file part while it arrives; the fields may stand before, between or after them."""
    if any(name in request.headers for name in DIGEST_FIELDS):
        raise errors.InvalidDigest("A digest of a whole form is not compared; send Content-Digest in each file part.")
    fields: dict[str, str] = {}
    others = 0
    async for part in FormReader(request.headers["content-type"], body_of(request)).parts():
        if await _receive_part(part, caller, ingest, delivery, limits):
            continue
        others += 1
        if others > MAX_FIELDS:
            raise errors.InvalidRequest(f"A form may have at most {MAX_FIELDS} fields.")
        if part.filename is None:
            fields[part.name] = await read_field(part, limits.max_metadata_bytes)
    if not delivery.received:
        raise errors.InvalidRequest("The form has no file: a file part needs a filename.")
    return about_of(fields)


async def _receive_part(
    part: Part, caller: CallerValue, ingest: IngestService, delivery: Delivery, limits: LimitsSettings
) -> bool:
    """Whether the part was a file."""
    pieces = Pieces(part.data)
    if part.filename is None or (part.filename == "" and await pieces.ended()):  # a browser's file input left empty
        return False
    if len(delivery.received) >= limits.max_form_files:
        raise errors.InvalidRequest(f"A form may bring at most {limits.max_form_files} files.")
    await ingest.receive(
        caller,
        delivery,
        pieces,
        filename=part.filename,
        content_type=part.content_type,
        declared=part.declared,
    )
    return True


def _accepted(item: Accepted) -> AcceptedFile:
    return AcceptedFile(filename=item.filename, upload_id=item.upload_id, job_id=item.job.id)
