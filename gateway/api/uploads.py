"""Routes of uploads and their chunks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Header, Request, Response

from common import errors
from common.digests import CRC_64, crc64_bytes, to_hex
from gateway.api.documented import problems
from gateway.api.fields import body_of, content_digest, content_length
from gateway.api.jobs import queued_answer
from gateway.api.numbers import Index
from gateway.api.schemas import ChunkView, FinalizeRequest, JobView, UploadCreate, UploadView
from gateway.dependencies import Caller, Chunks, Finalizing, Jobs, Services, Uploads
from gateway.intake import Pieces

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_CREATE = (
    errors.InvalidFilename,
    errors.InvalidDigest,
    errors.MetadataTooLarge,
    errors.ChunkSizeRefused,
    errors.DirectNotAvailable,
    errors.IdempotencyKeyReused,
    errors.FileTooLarge,
    errors.ExtensionNotAllowed,
    errors.InsufficientStorage,
)
_PUT = (
    errors.UploadNotFound,
    errors.ChunkOutOfRange,
    errors.ChunkLength,
    errors.InvalidDigest,
    errors.DigestMismatch,
    errors.BodyIncomplete,
    errors.ChunkConflict,
    errors.UploadNotOpen,
    errors.ChunkBusy,
    errors.StorageUnavailable,
    errors.InsufficientStorage,
)


@router.post("", status_code=201, responses=problems(*_CREATE), summary="Create an upload")
async def create_upload(
    body: UploadCreate,
    caller: Caller,
    uploads: Uploads,
    services: Services,
    response: Response,
    idempotency_key: Annotated[str | None, Header(description="The same key and body give the same upload.")] = None,
) -> UploadView:
    status = await uploads.create(caller, body.wanted(), idempotency_key)
    prefix = services.locations.prefix
    response.headers["Location"] = f"{prefix}/v1/uploads/{status.upload.id}"
    return UploadView.of(status, prefix)


@router.head("/{upload_id}", include_in_schema=False)
@router.get("/{upload_id}", responses=problems(errors.UploadNotFound), summary="What has arrived, what is missing")
async def get_upload(upload_id: str, caller: Caller, uploads: Uploads, services: Services) -> UploadView:
    return UploadView.of(await uploads.status(caller, upload_id), services.locations.prefix)


@router.put("/{upload_id}/chunks/{index}", responses=problems(*_PUT), openapi_extra=_BODY, summary="Send a chunk")
async def put_chunk(
    upload_id: str,
    index: Index,
    request: Request,
    caller: Caller,
    chunks: Chunks,
) -> ChunkView:
    """The raw bytes of one chunk, in any order, in parallel, as often as you like. With `Content-Digest` (RFC 9530:
    sha-256, sha-512, crc32c or crc64nvme) the bytes are compared before they count."""
    pieces = Pieces(body_of(request))
    receipt = await chunks.put(caller, upload_id, index, pieces, content_length(request), content_digest(request))
    return ChunkView(index=index, size=receipt.length, digests=to_hex({CRC_64: crc64_bytes(receipt.crc64)}))


@router.post(
    "/{upload_id}/finalize",
    status_code=202,
    responses={
        200: {"model": JobView, "description": "The job has ended already."},
        **problems(errors.UploadNotFound, errors.ChunksMissing, errors.UploadNotOpen, errors.InvalidDigest),
    },
    summary="Turn the upload into a file",
)
async def finalize_upload(
    upload_id: str,
    caller: Caller,
    finalizing: Finalizing,
    jobs: Jobs,
    services: Services,
    request: Request,
    response: Response,
    body: Annotated[FinalizeRequest | None, Body()] = None,
) -> JobView:
    """With `Prefer: wait=20` (RFC 7240) the answer is the job at its end, if that comes within 20 seconds."""
    job = await finalizing.finalize(caller, upload_id, body.digests if body else {})
    return await queued_answer(request, response, caller, jobs, job, services.locations.prefix)


@router.delete(
    "/{upload_id}",
    status_code=204,
    responses=problems(errors.UploadNotFound, errors.UploadFinalized),
    summary="Abort an upload",
)
async def abort_upload(upload_id: str, caller: Caller, uploads: Uploads) -> None:
    await uploads.abort(caller, upload_id)
