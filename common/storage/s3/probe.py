"""What the store can do, found out by doing it: stores differ, and documents lag behind them.

About a dozen requests below PREFIX.probe/, once in a process; everything made is removed again. A store that answers
a question with an error lacks the feature; one that cannot be asked at all is StorageUnavailable.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from awscrt import checksums

from common.digests import crc64_bytes
from common.errors import StorageUnavailable
from common.storage.s3.body import StreamBody
from common.storage.s3.client import PRECONDITION, Client, Refusal

CRC64 = "CRC64NVME"
CRC32C = "CRC32C"
CONTENT = b"sluice probes what this store can do"
LACKING = frozenset(
    {
        "NotImplemented", "InvalidRequest", "InvalidArgument", "MalformedXML", "BadDigest", "InvalidDigest", "501",
        "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "MissingContentLength", "InvalidHeader", "400",
        "IncompleteBody", "SignatureDoesNotMatch", "411", "InternalError", "405", "MethodNotAllowed",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`trailer`: the checksum that may follow a streamed body. `listed_crc64`: ListParts tells the CRC-64/NVME of each
    part. `whole_crc64`: a Complete with a wrong CRC-64/NVME of the whole object is refused. `conditional_put`,
    `conditional_complete`: `If-None-Match: *` is honoured. `md5_etags`: the ETag of a part is the MD5 of its bytes."""

    trailer: Literal["CRC64NVME", "CRC32C"] | None
    listed_crc64: bool
    whole_crc64: bool
    conditional_put: bool
    conditional_complete: bool
    md5_etags: bool

    def described(self) -> dict[str, Any]:
        """By name, for people."""
        return asdict(self)


async def probe(client: Client, key: str) -> Capabilities:
    """Try everything out at `key`, which nobody else uses. Raises StorageUnavailable."""
    try:
        conditional_put = await _conditional_put(client, key)
        trailer, listed, md5_etags, upload_id, etag = await _a_part(client, key)
        try:
            conditional = await _refuses(client, key, upload_id, etag, PRECONDITION, IfNoneMatch="*")
            await client.call("delete_object", Key=key)
            wrong = {"ChecksumCRC64NVME": b64_crc64(1), "ChecksumType": "FULL_OBJECT"}
            # where the condition was ignored the parts are used up: then nothing is known of checksums either
            whole = listed and conditional and await _refuses(client, key, upload_id, etag, LACKING, **wrong)
        finally:
            with suppress(FileNotFoundError):
                await client.call("abort_multipart_upload", Key=key, UploadId=upload_id)
    finally:
        with suppress(FileNotFoundError, StorageUnavailable):
            await client.call("delete_object", Key=key)
    return Capabilities(trailer, listed, whole, conditional_put, conditional, md5_etags)


def scratch_name() -> str:
    return secrets.token_hex(8)


def b64_crc64(value: int) -> str:
    """As S3 writes it in headers and listings."""
    return base64.b64encode(crc64_bytes(value)).decode()


async def _conditional_put(client: Client, key: str) -> bool:
    await client.call("put_object", Key=key, Body=CONTENT)  # fails for whoever must not write at all
    try:
        await client.call("put_object", Key=key, Body=CONTENT, IfNoneMatch="*", handled=PRECONDITION | LACKING)
    except Refusal as refusal:
        return refusal.code in PRECONDITION
    return False


async def _a_part(client: Client, key: str) -> tuple[Literal["CRC64NVME", "CRC32C"] | None, bool, bool, str, str]:
    """Trailer, whether its CRC-64 is listed, whether the ETag is the MD5; and the multipart upload with its part."""
    for trailer in (CRC64, CRC32C, None):
        made = await _multipart(client, key, trailer)
        if made is None:
            continue
        body = StreamBody(_Fixed(), len(CONTENT), _nothing, md5=True)
        algorithm = {"ChecksumAlgorithm": trailer} if trailer else {}
        try:
            part = await client.call(
                "upload_part", Key=key, UploadId=made, PartNumber=1, Body=body, ContentLength=len(CONTENT),
                handled=LACKING if trailer else (), **algorithm,
            )  # fmt: skip
        except Refusal:
            await client.call("abort_multipart_upload", Key=key, UploadId=made)
            continue
        listed = await client.call("list_parts", Key=key, UploadId=made)
        parts = listed.get("Parts", [])
        if [found.get("Size") for found in parts] != [len(CONTENT)]:  # it took the framing for the bytes
            await client.call("abort_multipart_upload", Key=key, UploadId=made)
            continue
        crc64 = parts[0].get("ChecksumCRC64NVME") == b64_crc64(checksums.crc64nvme(CONTENT))
        return trailer, crc64, etag_of(part) == body.md5, made, part["ETag"]  # type: ignore[return-value]
    raise StorageUnavailable("The store takes no part of a multipart upload as it was sent.")


async def _multipart(client: Client, key: str, trailer: str | None) -> str | None:
    try:
        made = await client.call("create_multipart_upload", Key=key, handled=LACKING, **multipart_checksum(trailer))
    except Refusal:
        return None
    return str(made["UploadId"])


def multipart_checksum(trailer: str | None) -> dict[str, str]:
    """The checksum that a new multipart upload is made with: one of the whole object, where the store has it."""
    return {"ChecksumAlgorithm": CRC64, "ChecksumType": "FULL_OBJECT"} if trailer == CRC64 else {}


async def _refuses(
    client: Client, key: str, upload_id: str, etag: str, codes: frozenset[str], **conditions: str
) -> bool:
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    try:
        await client.call(
            "complete_multipart_upload", Key=key, UploadId=upload_id, MultipartUpload=parts, handled=codes | LACKING,
            **conditions,
        )  # fmt: skip
    except Refusal as refusal:
        return refusal.code in codes
    return False


def etag_of(answer: dict[str, Any]) -> str:
    """Without its quotes."""
    return str(answer.get("ETag", "")).strip('"')


class _Fixed:
    """CONTENT as a source."""

    read_ahead = True

    def __init__(self) -> None:
        self.length = 0
        self.crc64 = 0

    async def __aiter__(self) -> AsyncIterator[Sequence[bytes]]:
        self.length, self.crc64 = len(CONTENT), checksums.crc64nvme(CONTENT)
        yield [CONTENT]


async def _nothing() -> None:
    """Nobody has to agree."""
