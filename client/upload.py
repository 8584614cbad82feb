"""The upload engine: begin or resume, send what is missing over several connections, finalize, wait for the job.

It can be cancelled at any point: what the server has acknowledged stays, and with a state store the next run goes on
from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, Protocol

from client.direct import Link, Links
from client.errors import (
    FileChangedError,
    IntegrityError,
    JobFailedError,
    SluiceApiError,
    SluiceClientError,
    SluiceProtocolError,
)
from client.models import ChunkReceipt, FileInfo, Job, Upload
from client.options import UploadOptions, UploadResult
from client.plan import chunk_indexes, chunk_span, missing_bytes
from client.resume import Opening, open_upload
from client.retry import RetryBudget, RetryPolicy
from client.source import Source, digest_of, pieces, sha256_of
from client.transport import Body

ROUNDS = 3
"""How often the missing chunks are sent and finalize is asked for, before a failing verification is believed."""
CHUNK_TRIES = 3
"""How often a chunk is read and sent again that did not arrive as it was sent."""
ABORT_SECONDS = 5.0
"""How long giving up may take to tell the server; it expires the upload by itself otherwise."""

# The last two are a store's: a damaged part, and a link that ran out before it was used.
_ARRIVED_BADLY = frozenset({"digest_mismatch", "body_incomplete", "body_timeout", "http_400", "http_403"})
_LOOK_AGAIN = frozenset({"chunks_missing", "upload_not_open"})


class Api(Protocol):
    """The calls the engine needs."""

    @property
    def retry(self) -> RetryPolicy: ...
    async def create_upload(self, request: dict[str, Any], *, idempotency_key: str | None = None) -> Upload: ...
    async def get_upload(self, upload_id: str) -> Upload: ...
    async def put_chunk(
        self,
        upload_id: str,
        index: int,
        body: Body,
        *,
        size: int,
        sha256: bytes | None = None,
        budget: RetryBudget | None = None,
    ) -> ChunkReceipt: ...
    async def parts_page(self, upload_id: str, *, cursor: str | None = None) -> tuple[Link, ...]: ...
    async def put_direct(self, link: Link, body: Body, *, md5: bytes | None = None) -> None: ...
    async def finalize(self, upload_id: str, *, digests: dict[str, str] | None = None) -> Job: ...
    async def abort(self, upload_id: str) -> None: ...
    async def get_job(self, job_id: str, *, wait: float = 0) -> Job: ...
    async def wait_for_job(self, job_id: str, *, timeout: float | None = None) -> Job: ...
    async def get_file(self, file_id: str) -> FileInfo: ...
    async def patch_file(self, file_id: str, changes: dict[str, Any]) -> FileInfo: ...


class Uploader:
    """One run of one upload. `key` names the resume state in the options' store; None: nothing is kept."""

    def __init__(self, api: Api, source: Source, options: UploadOptions, key: str | None = None) -> None:
        self._api = api
        self._source = source
        self._options = options
        self._opening = Opening(options.request(source.name, source.size), options.store, key)
        self._digest: asyncio.Task[bytes] | None = None
        self._held = 0
        self._sent = 0
        self._flying: dict[int, int] = {}
        self._links: Links | None = None

    async def run(self) -> UploadResult:
        """Raises what `AsyncClient.upload_file` says."""
        upload = await open_upload(self._api, self._opening)
        try:
            return await self._finish(upload)
        except (FileChangedError, JobFailedError, SluiceProtocolError):
            await self._give_up(upload.id)
            raise
        except SluiceApiError as error:
            if error.code == "chunk_conflict":
                # The server holds other bytes under this number; no repetition can change that.
                await self._give_up(upload.id)
            raise
        finally:
            if self._digest is not None:
                self._digest.cancel()
                await asyncio.gather(self._digest, return_exceptions=True)

    async def _finish(self, upload: Upload) -> UploadResult:
        for round_number in range(1, ROUNDS + 1):
            last = round_number == ROUNDS
            try:
                job = await self._round(upload)
            except SluiceApiError as error:
                if last or error.code not in _LOOK_AGAIN:
                    raise
                upload = await self._api.get_upload(upload.id)
                continue
            if job.succeeded or not job.finished:
                return await self._result(upload, job)
            upload = await self._api.get_upload(upload.id)
            self._source.check()
            if last or upload.state != "open" or not upload.missing:
                raise JobFailedError(job)
        raise AssertionError("unreachable: the last round returns or raises")

    async def _round(self, upload: Upload) -> Job:
        """Bring the upload to a job, and the job to its end unless the caller does not wait."""
        if upload.size != self._source.size:
            raise SluiceProtocolError(
                f"upload {upload.id} is for {upload.size} bytes, the source has {self._source.size}"
            )
        if upload.state == "open":
            await self._send_missing(upload)
            self._source.check()
            job = await self._api.finalize(upload.id, digests=await self._file_digests())
        elif upload.job_id is not None:
            job = await self._api.get_job(upload.job_id)
        else:
            detail = f"upload {upload.id} is {upload.state}; run the upload again to start a new one"
            raise SluiceApiError(409, f"upload_{upload.state}", detail=detail)
        if job.finished or not self._options.wait:
            return job
        return await self._api.wait_for_job(job.id, timeout=self._options.job_timeout)

    async def _send_missing(self, upload: Upload) -> None:
        self._held = upload.size - missing_bytes(upload.missing, upload.chunk_size, upload.size)
        self._report()
        if self._options.file_digest and self._digest is None:
            self._digest = asyncio.create_task(sha256_of(self._source, 0, self._source.size))
        indexes = chunk_indexes(upload.missing)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._options.parallel, upload.chunk_count)):
                    group.create_task(self._send_some(upload, indexes))
        except BaseExceptionGroup as failures:
            # One connection's failure ends the others; callers get that error, not a group.
            raise failures.exceptions[0] from None
        finally:
            self._flying.clear()

    async def _send_some(self, upload: Upload, indexes: Iterator[int]) -> None:
        for index in indexes:
            for tries in range(1, CHUNK_TRIES + 1):
                try:
                    await self._send_chunk(upload, index)
                    break
                except SluiceApiError as error:
                    self._source.check()
                    if error.code not in _ARRIVED_BADLY or tries == CHUNK_TRIES:
                        raise

    async def _send_chunk(self, upload: Upload, index: int) -> None:
        offset, length = chunk_span(index, upload.chunk_size, upload.size)
        if upload.direct:
            await self._send_direct(upload, index, offset, length)
        else:
            await self._send_through(upload, index, offset, length)
        self._flying.pop(index, None)
        self._held += length
        self._sent += length
        self._report()

    async def _send_direct(self, upload: Upload, index: int, offset: int, length: int) -> None:
        if self._links is None:
            self._links = Links(self._api, upload.id)
        md5 = await digest_of("md5", self._source, offset, length) if self._options.chunk_digests else None
        link = await self._links.link(index)
        if link.size != length:
            raise SluiceProtocolError(f"the link for chunk {index} is for {link.size} bytes, the chunk has {length}")
        try:
            await self._api.put_direct(link, lambda: self._body(index, offset, length), md5=md5)
        finally:
            self._links.forget(index)

    async def _send_through(self, upload: Upload, index: int, offset: int, length: int) -> None:
        sha256 = await sha256_of(self._source, offset, length) if self._options.chunk_digests else None
        receipt = await self._api.put_chunk(
            upload.id,
            index,
            lambda: self._body(index, offset, length),
            size=length,
            sha256=sha256,
            budget=RetryBudget(self._api.retry, lambda: self._sent),
        )
        _check_receipt(receipt, index, length, sha256)

    async def _body(self, index: int, offset: int, length: int) -> AsyncIterator[bytes]:
        self._flying[index] = 0
        async for piece in pieces(self._source, offset, length):
            yield piece
            self._flying[index] = self._flying.get(index, 0) + len(piece)
            self._report()

    def _report(self) -> None:
        if self._options.progress is not None:
            self._options.progress(self._held + sum(self._flying.values()), self._source.size)

    async def _file_digests(self) -> dict[str, str] | None:
        if self._digest is None:
            return None
        digest = await self._digest
        self._source.check()
        return {"sha-256": digest.hex()}

    async def _result(self, upload: Upload, job: Job) -> UploadResult:
        sha256 = self._digest.result().hex() if self._digest is not None and self._digest.done() else None
        file_id = job.file_id or upload.file_id
        if job.succeeded:
            if file_id is None:
                raise SluiceProtocolError(f"job {job.id} succeeded and names no file")
            if changes := self._opening.changes():
                await self._api.patch_file(file_id, changes)
            sha256 = sha256 or (await self._api.get_file(file_id)).sha256
            self._opening.forget()
        return UploadResult(
            upload_id=upload.id,
            file_id=file_id,
            job=replace(job, file_id=file_id),
            filename=upload.filename,
            size=upload.size,
            sha256=sha256,
            resumed=self._opening.resumed,
            sent_bytes=self._sent,
        )

    async def _give_up(self, upload_id: str) -> None:
        """Forget this upload here, and try to tell the server so that nothing is left behind there."""
        self._opening.forget()
        with contextlib.suppress(SluiceClientError, TimeoutError):
            async with asyncio.timeout(ABORT_SECONDS):
                await self._api.abort(upload_id)


def _check_receipt(receipt: ChunkReceipt, index: int, length: int, sha256: bytes | None) -> None:
    if (receipt.index, receipt.size) != (index, length):
        raise SluiceProtocolError(
            f"sent chunk {index} of {length} bytes, the server confirmed {receipt.index} of {receipt.size}"
        )
    confirmed = receipt.digests.get("sha-256")
    if sha256 is not None and confirmed is not None and not hmac.compare_digest(confirmed, sha256.hex()):
        raise IntegrityError(f"the server confirmed chunk {index} with another SHA-256")
