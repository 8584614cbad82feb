"""Requests to the store through aiobotocore, and what it answers in our errors. The only module that knows botocore.

Credentials come from where AWS tools look for them (environment, shared files, container and instance roles); no
setting of ours holds any, and nothing here logs a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from common.bucket import Bucket
from common.errors import InsufficientStorage, StorageUnavailable
from common.settings import StorageSettings
from common.storage.s3.models import LeanFiles

MISSING = frozenset({"NoSuchKey", "NoSuchUpload", "404", "NotFound"})
FULL = frozenset({"QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "XMinioStorageFull", "StorageFull"})
CONNECT_SECONDS = 5.0
TRAILERS = ("PutObject", "UploadPart")
FAILURES = (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError)

PRECONDITION = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
"""Codes of a conditional request whose condition did not hold."""


class Refusal(Exception):  # it never leaves this package
    """An answer that the caller of `call` handles; `code` is the store's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Client:
    """One connection pool to one bucket; opened by the first call, in the event loop of that call."""

    def __init__(self, bucket: Bucket, settings: StorageSettings, endpoint_url: str) -> None:
        self.bucket = bucket.name
        self._endpoint_url = endpoint_url
        self._settings = settings
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._client: Any = None

    async def call(self, operation: str, *, handled: Collection[str] = (), **params: Any) -> dict[str, Any]:
        """The parsed answer. Raises FileNotFoundError for what is not there, Refusal for a code in `handled`,
        InsufficientStorage, and StorageUnavailable for everything else, also after the last of several tries."""
        client = await self._opened()
        try:
            answer: dict[str, Any] = await getattr(client, operation)(Bucket=self.bucket, **params)
        except ClientError as error:
            raise _as_ours(error, handled) from error
        except FAILURES as error:
            raise StorageUnavailable(f"The store did not answer ({type(error).__name__}). Try again later.") from error
        return answer

    async def get(self, key: str) -> tuple[bytes, str]:
        """The bytes and the ETag of a small object. Raises FileNotFoundError."""
        answer = await self.call("get_object", Key=key)
        try:
            async with answer["Body"] as body:
                return await body.read(), answer["ETag"]
        except FAILURES as error:
            raise StorageUnavailable("The store broke off its answer. Try again later.") from error

    async def pages(self, operation: str, marks: Mapping[str, str], **params: Any) -> AsyncIterator[dict[str, Any]]:
        """All pages of a listing. `marks`: member of an answer -> parameter of the next call."""
        while True:
            page = await self.call(operation, **params)
            yield page
            if not page.get("IsTruncated"):
                return
            params.update({parameter: page[member] for member, parameter in marks.items() if page.get(member)})

    async def objects(self, prefix: str, delimiter: str = "", after: str = "") -> AsyncIterator[dict[str, Any]]:
        """Pages of the keys below `prefix`, behind the key `after`."""
        marks = {"NextContinuationToken": "ContinuationToken"}
        more = {"Delimiter": delimiter} if delimiter else {}
        more |= {"StartAfter": after} if after else {}
        async for page in self.pages("list_objects_v2", marks, Prefix=prefix, **more):
            yield page

    async def presigned(self, operation: str, seconds: float, **params: Any) -> str:
        """A URL that anybody may send until it expires. Asks nobody, but may fetch credentials."""
        client = await self._opened()
        try:
            params["Bucket"] = self.bucket
            return str(await client.generate_presigned_url(operation, Params=params, ExpiresIn=round(seconds)))
        except FAILURES as error:
            raise StorageUnavailable(f"No link could be signed ({type(error).__name__}).") from error

    async def close(self) -> None:
        await self._stack.aclose()
        self._client = None

    async def _opened(self) -> Any:
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await self._open()
        return self._client

    async def _open(self) -> Any:
        settings = self._settings
        config = AioConfig(
            signature_version="s3v4",
            s3={
                "addressing_style": "path" if settings.s3_path_style else "auto",
                "payload_signing_enabled": False,  # checksums guard the bytes; hashing them for the signature is slow
            },
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": settings.s3_attempts},
            connect_timeout=min(CONNECT_SECONDS, settings.s3_timeout),
            read_timeout=settings.s3_timeout,
            max_pool_connections=settings.s3_connections,
        )
        session = get_session()
        session.get_component("data_loader").file_loader = LeanFiles()
        making = session.create_client(
            "s3", region_name=settings.s3_region, endpoint_url=self._endpoint_url or None, config=config
        )
        try:
            client = await self._stack.enter_async_context(making)
        except FAILURES as error:
            raise StorageUnavailable(f"The store cannot be used ({type(error).__name__}): {error}") from error
        for operation in TRAILERS:
            client.meta.events.register(f"before-call.s3.{operation}", _checksum_behind)
        return client


def _checksum_behind(params: dict[str, Any], **_: Any) -> None:
    """Send the checksum of a stream after its bytes also where there is no TLS: botocore would read the body twice."""
    algorithm = params["context"].get("checksum", {}).get("request_algorithm")
    if isinstance(algorithm, dict):
        algorithm["in"] = "trailer"


def _as_ours(error: ClientError, handled: Collection[str]) -> Exception:
    """The error for the caller; names the store's code, never a key."""
    code = str(error.response.get("Error", {}).get("Code", "unknown"))
    if code in handled:
        return Refusal(code)
    if code in MISSING:
        return FileNotFoundError(code)
    if code in FULL:
        return InsufficientStorage(f"The store has no room for these bytes ({code}). Free some space, then send again.")
    return StorageUnavailable(f"The store failed or refused ({code}). Send the same request again later.")
