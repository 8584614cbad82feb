"""The route that sends a file's bytes: ranges, conditions, digests (RFC 9110 sections 13 and 14, RFC 9530)."""

from __future__ import annotations

from email.utils import format_datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Send

from common import errors
from common.db.models import File
from common.digests import CRC_64, SHA_256, format_digest_field, parse_hex
from gateway.api.conditions import Validators
from gateway.api.disposition import attachment
from gateway.api.documented import problems
from gateway.api.fields import parse_range
from gateway.dependencies import Caller, Files
from gateway.service.files import Content

router = APIRouter(prefix="/v1/files", tags=["files"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The asked range."},
    304: {"description": "The client has it already."},
    **problems(
        errors.FileNotFound,
        errors.PreconditionFailed,
        errors.RangeNotSatisfiable,
        errors.StorageUnavailable,
        errors.FileCorrupt,
    ),
}


@router.head("/{file_id}/content", responses=_ANSWERS, summary="Size, type and digest of the bytes")
@router.get("/{file_id}/content", responses=_ANSWERS, summary="The bytes")
async def get_content(file_id: str, request: Request, caller: Caller, files: Files) -> Response:
    file = await files.get(caller, file_id)
    headers = _headers(file)
    validators = Validators(etag_of(file), file.created_at)
    validators.check(request.headers)
    if validators.known(request.headers):
        return Response(status_code=304, headers=headers)
    files.check_sound(file)
    wanted = _wanted_range(request, file, validators)
    start, length = wanted or (0, file.size)
    if length > 0 and _nginx_may_send(request, wanted) and (place := await files.locate(file)) is not None:
        if wanted is None:
            del headers["Accept-Ranges"]  # nginx says it too, with whole files
        return Response(headers={**headers, "Content-Type": file.content_type, "X-Accel-Redirect": place})
    headers["Content-Length"] = str(length)
    headers["Content-Type"] = file.content_type
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{file.size}"
    status = 206 if wanted is not None else 200
    # opened before the answer begins: a file that cannot be read is a clean error, never a short body
    content = await files.open(file, start, length)
    if request.method == "HEAD" or length == 0:
        await content.aclose()
        return Response(status_code=status, headers=headers)
    return FileStream(content, status, headers)


class FileStream(StreamingResponse):
    """Streams and closes the file also when the client goes away in the middle."""

    def __init__(self, content: Content, status: int, headers: dict[str, str]) -> None:
        super().__init__(content, status_code=status, headers=headers)
        self._content = content

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            await self._content.aclose()


def etag_of(file: File) -> str:
    """The SHA-256, or the CRC where a file was verified by its receipts only."""
    if SHA_256 in file.digests:
        return f'"{file.digests[SHA_256]}"'
    return f'"{CRC_64}-{file.digests.get(CRC_64, "")}-{file.size}"'


def _headers(file: File) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": attachment(file.filename),
        "ETag": etag_of(file),
        "Last-Modified": format_datetime(file.created_at, usegmt=True),
        "Repr-Digest": format_digest_field(parse_hex(file.digests)),
        "X-Content-Type-Options": "nosniff",
    }


def _nginx_may_send(request: Request, wanted: tuple[int, int] | None) -> bool:
    """It judges conditions by the file on its disk, and refuses ranges that we ignore."""
    fields = request.headers
    if request.method != "GET" or any(name in fields for name in ("if-match", "if-unmodified-since", "if-range")):
        return False
    return wanted is not None or "range" not in fields


def _wanted_range(request: Request, file: File, validators: Validators) -> tuple[int, int] | None:
    header = request.headers.get("range")
    if header is None or request.method != "GET" or not validators.same_range(request.headers):  # section 14.2
        return None
    return parse_range(header, file.size)
