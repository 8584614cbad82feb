"""An upload as a resource that clients call by its address: what all surfaces that count offsets do alike.

What differs between their protocols, names of fields and numbers of statuses, is in their folders.
"""

from __future__ import annotations

from fastapi import Request, Response

from common.db.models import File, Upload
from common.errors import (
    FileNotFound,
    InconsistentLength,
    OffsetMismatch,
    SizeConflict,
    UploadEnded,
    UploadFinalized,
    UploadNotFinished,
)
from common.states import UploadState
from gateway.api.content import get_content
from gateway.service.caller import Caller
from gateway.service.files import FileService
from gateway.service.streams import StreamService, StreamStatus

ENDED = frozenset({UploadState.ABORTED, UploadState.EXPIRED, UploadState.FAILED})
DONE = frozenset({UploadState.FINALIZING, UploadState.COMPLETE})


def has_body(request: Request) -> bool:
    """Whether bytes may follow the head."""
    announced = request.headers.get("content-length", "0")
    return "transfer-encoding" in request.headers or announced.strip("0") != ""


async def present(caller: Caller, upload: Upload, files: FileService) -> File | None:
    """The file that has come of an upload; None while there is none yet. Raises UploadEnded for an upload that will
    never be one, and for one whose file was deleted."""
    if upload.state in ENDED:
        raise UploadEnded(f"The upload is {upload.state}; begin a new one.", state=upload.state)
    if upload.state != UploadState.COMPLETE or upload.file_id is None:
        return None
    try:
        return await files.get(caller, upload.file_id)
    except FileNotFound as error:
        raise UploadEnded("The file of this upload was deleted; begin a new one.", state=upload.state) from error


async def terminate(caller: Caller, upload_id: str, streams: StreamService, files: FileService) -> None:
    """End an upload and free what it holds; the file as well, where it has become one. An append in flight is
    interrupted. Raises UploadNotFound, UploadEnded, UploadFinalized while its job runs."""
    file = await present(caller, await streams.load(caller, upload_id), files)
    if file is None:
        try:
            await streams.abort(caller, upload_id)
            return
        except UploadFinalized as error:
            file = await present(caller, await streams.load(caller, upload_id), files)
            if file is None:
                error.retry_after = 1
                raise
    await files.delete(caller, file.id)


async def download(request: Request, caller: Caller, upload: Upload, files: FileService) -> Response:
    """The bytes of a finished upload, as `GET /v1/files/{id}/content`. Raises UploadNotFinished, UploadEnded."""
    file = await present(caller, upload, files)
    if file is None:
        raise UploadNotFinished("The upload is not a file yet; ask again later.", state=upload.state, retry_after=1)
    return await get_content(file.id, request, caller, files)


async def declare(caller: Caller, upload: Upload, offset: int, size: int, streams: StreamService) -> None:
    """Record the size (bytes) that an append at `offset` says. Raises InconsistentLength where another one is known,
    and OffsetMismatch before anything is changed."""
    if upload.size is None:
        status = await streams.status(caller, upload.id)
        if status.offset is not None and status.offset != offset:
            raise OffsetMismatch.at(status.offset, offset)
        upload = await sized(caller, status, size, streams)
    if upload.size != size:
        raise InconsistentLength(f"The upload has {upload.size} bytes, not {size}.")


async def sized(caller: Caller, status: StreamStatus, size: int, streams: StreamService) -> Upload:
    """The upload with its size. Raises InconsistentLength."""
    try:
        return (await streams.declare_size(caller, status.upload.id, size)).upload
    except SizeConflict as error:
        raise InconsistentLength(error.detail) from error


def link_to_job(status: StreamStatus, prefix: str) -> dict[str, str]:
    """Where to see what becomes of a complete upload (RFC 8288; the relation is of RFC 5989). `prefix`: see
    `Locations.prefix`."""
    return {"Link": f'<{prefix}/v1/jobs/{status.job_id}>; rel="monitor"'} if status.job_id is not None else {}
