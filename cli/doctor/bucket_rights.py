"""What the credentials of a storage in a bucket may do, found out by doing it once at a key that nobody else uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from common.storage.s3.client import Client, Refusal
from common.storage.s3.keys import Keys
from common.storage.s3.probe import scratch_name

SKEWED = frozenset({"RequestTimeTooSkewed"})
CREDENTIALS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId"}
)
DENIED = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "MethodNotAllowed", "NotImplemented"})
GONE = frozenset({"NoSuchBucket", "PermanentRedirect", "301", "AuthorizationHeaderMalformed"})
HANDLED = SKEWED | CREDENTIALS | DENIED | GONE


class Trial:
    """The requests of a file's life, in order; each is made even if one before it was refused."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._prefix = keys.prefix
        self._key = keys.scratch(scratch_name())
        self._multipart: str | None = None

    async def refused(self) -> list[str]:
        """The rights that are missing, with what the store said. Raises StorageUnavailable for other troubles."""
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "s3:PutObject": self._put,
            "s3:GetObject": self._get,
            "s3:PutObject of a multipart upload": self._begin,
            "s3:PutObject of a part": self._part,
            "s3:ListMultipartUploadParts": self._parts,
            "s3:ListBucketMultipartUploads": self._multiparts,
            "s3:AbortMultipartUpload": self._abort,
            "s3:DeleteObject": self._delete,
        }
        missing = []
        for right, step in steps.items():
            try:
                await step()
            except Refusal as refusal:
                missing.append(f"{right} ({refusal.code})")
        return missing

    async def _call(self, operation: str, **more: Any) -> dict[str, Any]:
        return await self._client.call(operation, Key=self._key, handled=HANDLED, **more)

    async def _put(self) -> None:
        await self._call("put_object", Body=b"x")

    async def _get(self) -> None:
        with suppress(FileNotFoundError):  # it could not be put
            async with (await self._call("get_object"))["Body"] as body:
                await body.read()

    async def _begin(self) -> None:
        self._multipart = (await self._call("create_multipart_upload"))["UploadId"]

    async def _part(self) -> None:
        if self._multipart:
            await self._call("upload_part", PartNumber=1, Body=b"x", UploadId=self._multipart)

    async def _parts(self) -> None:
        if self._multipart:
            await self._call("list_parts", UploadId=self._multipart)

    async def _multiparts(self) -> None:
        await self._client.call("list_multipart_uploads", Prefix=self._prefix, MaxUploads=1, handled=HANDLED)

    async def _abort(self) -> None:
        if self._multipart:
            await self._call("abort_multipart_upload", UploadId=self._multipart)

    async def _delete(self) -> None:
        await self._call("delete_object")
