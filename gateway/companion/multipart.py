"""Routes for a file in parts, as `CompanionS3` of `@uppy/aws-s3` calls them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.api.fields import body_of, content_length
from gateway.api.numbers import PartNumber
from gateway.companion.addresses import whole_address
from gateway.companion.schemas import (
    LinkView,
    MultipartComplete,
    MultipartCreate,
    MultipartView,
    PartView,
    StoredView,
    about_of,
    quoted,
)
from gateway.dependencies import Caller, Parts, Uploads
from gateway.intake import Pieces

router = APIRouter(prefix="/s3/multipart", include_in_schema=False)


@router.post("")
async def create_multipart(body: MultipartCreate, caller: Caller, parts: Parts) -> MultipartView:
    upload = await parts.create(caller, body.filename, body.type, about_of(body.metadata))
    return MultipartView(key=upload.id, upload_id=upload.id)


@router.get("/{upload_id}")
async def list_parts(upload_id: str, caller: Caller, parts: Parts) -> list[PartView]:
    return [PartView.of(part) for part in await parts.arrived(caller, upload_id)]


@router.get("/{upload_id}/{number}")
async def get_link(
    upload_id: str, number: PartNumber, request: Request, response: Response, caller: Caller, parts: Parts
) -> LinkView:
    response.headers["Cache-Control"] = "no-store"
    link = await parts.link(caller, upload_id, number)
    return LinkView(url=link or whole_address(request, f"/s3/multipart/{upload_id}/{number}"))


@router.put("/{upload_id}/{number}")
async def put_part(upload_id: str, number: PartNumber, request: Request, caller: Caller, parts: Parts) -> Response:
    part = await parts.put(caller, upload_id, number, Pieces(body_of(request)), content_length(request))
    here = whole_address(request, f"/s3/multipart/{upload_id}/{number}")  # older versions of the plugin want one
    return Response(status_code=200, headers={"ETag": quoted(part.tag), "Location": here})


@router.post("/{upload_id}/complete")
async def complete_multipart(
    upload_id: str, body: MultipartComplete, request: Request, caller: Caller, parts: Parts
) -> StoredView:
    job = await parts.complete(caller, upload_id, body.tags())
    location = whole_address(request, f"/s3/files/{upload_id}")
    return StoredView(location=location, key=upload_id, upload_id=upload_id, job_id=job.id)


@router.delete("/{upload_id}")
async def abort_multipart(upload_id: str, caller: Caller, uploads: Uploads) -> dict[str, str]:
    await uploads.abort(caller, upload_id)
    return {}
