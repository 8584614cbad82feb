"""Routes for a small file in one form (a POST policy in S3), and the address of every file that came in here."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from common.errors import FileNotFound, InvalidRequest, MetadataTooLarge, Unavailable
from common.states import UploadState
from gateway.api.fields import body_of
from gateway.api.forms import FormReader, read_field
from gateway.companion.addresses import whole_address
from gateway.companion.schemas import MOST_METADATA, FormView, about_of, quoted
from gateway.dependencies import Caller, Ingest, Services, Uploads
from gateway.intake import Pieces

router = APIRouter(prefix="/s3", include_in_schema=False)

MAX_FIELDS = 20  # before the file; the plugin sends one
MAX_FIELD = 1024  # bytes
_METADATA = re.compile(r"metadata\[([^\]]*)\]")
RETRY_AFTER = 1  # seconds; small files are published within less


@router.get("/params")
async def get_params(
    filename: str,
    request: Request,
    response: Response,
    caller: Caller,
    ingest: Ingest,
    content_type: Annotated[str | None, Query(alias="type")] = None,
) -> FormView:
    """`metadata[name]=value` as often as there are any. A new upload with each call."""
    response.headers["Cache-Control"] = "no-store"
    upload = await ingest.announce(caller, filename, content_type, about_of(_metadata_of(request)))
    return FormView(url=whole_address(request, "/s3/files"), fields={"key": upload.id})


@router.post("/files")
async def post_file(request: Request, caller: Caller, ingest: Ingest) -> Response:
    """A form with the field `key`, then the file; what comes behind it is read and forgotten."""
    fields: dict[str, str] = {}
    done = False
    form = FormReader(request.headers.get("content-type", ""), body_of(request))
    async for part in form.parts():
        if done:
            continue
        if part.name == "file":
            await ingest.receive_announced(caller, _key_of(fields), Pieces(part.data))
            done = True
        elif len(fields) >= MAX_FIELDS:
            raise InvalidRequest(f"The form may have at most {MAX_FIELDS} fields before the file.")
        else:
            fields[part.name] = await read_field(part, MAX_FIELD)
    if not done:
        raise InvalidRequest("The form has no file: it comes last, in a part with the name file.")
    # older versions of the plugin read both fields of the answer
    location = whole_address(request, f"/s3/files/{fields['key']}")
    return Response(status_code=201, headers={"Location": location, "ETag": quoted(fields["key"])})


@router.head("/files/{upload_id}")
@router.get("/files/{upload_id}")
async def find_file(upload_id: str, caller: Caller, uploads: Uploads, services: Services) -> Response:
    """To the bytes of the file that the upload became."""
    upload = await uploads.load(caller, upload_id)
    if upload.state == UploadState.FINALIZING:
        raise Unavailable("The file is being verified; ask again.", retry_after=RETRY_AFTER)
    if upload.state != UploadState.COMPLETE:
        raise FileNotFound(f"The upload is {upload.state}; there is no file.")
    content = f"{services.locations.prefix}/v1/files/{upload.file_id}/content"
    return Response(status_code=307, headers={"Location": content})


def _key_of(fields: dict[str, str]) -> str:
    if "key" not in fields:
        raise InvalidRequest("The field key, as `GET /s3/params` gave it, comes before the file.")
    return fields["key"]


def _metadata_of(request: Request) -> dict[str, str]:
    """The parameters `metadata[name]`."""
    found = [(_METADATA.fullmatch(name), value) for name, value in request.query_params.multi_items()]
    metadata = {match[1]: value for match, value in found if match is not None}
    if len(metadata) > MOST_METADATA:
        raise MetadataTooLarge(f"metadata may have at most {MOST_METADATA} members.", limit=MOST_METADATA)
    return metadata
