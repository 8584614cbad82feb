"""The calls of the wire contract, one thin method each, and the three that are more than a call: upload, download,
wait for a job.

Every method raises SluiceApiError for a refusal, SluiceConnectionError when no answer came after all attempts and
SluiceProtocolError for an answer that breaks the contract.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import os
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from client.direct import Link, parse_links
from client.download import DownloadResult, fetch_range, fetch_to_path
from client.errors import InvalidArgumentError, JobTimeoutError, SluiceApiError
from client.fields import attachment, digest_field
from client.models import ChunkReceipt, FileInfo, Job, Limits, Page, Upload
from client.options import ProgressCallback, UploadOptions, UploadResult
from client.retry import RetryBudget, RetryCallback, RetryPolicy
from client.source import BytesSource, FileSource
from client.state import state_key
from client.transport import Body, Call, Transport, open_http
from client.upload import Uploader

LONG_POLL = 20.0
"""Seconds one request for a job is held open by the server."""


class AsyncClient:
    """A Sluice server seen from an event loop. Use it as `async with`, or call `aclose`.

    `headers` go with every request (an Authorization header, say). `transport` replaces the network, for tests.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._transport = Transport(open_http(base_url, headers, transport), retry or RetryPolicy())
        # Links name another server: it gets none of the headers that are for this one.
        self._store = Transport(open_http(base_url, None, transport), retry or RetryPolicy())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()
        await self._store.aclose()

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    @property
    def retry(self) -> RetryPolicy:
        return self._transport.policy

    # uploads

    async def limits(self) -> Limits:
        """What the server accepts."""
        return Limits.parse(await self._transport.send_json(Call("GET", "/v1/limits")))

    async def create_upload(self, request: Mapping[str, Any], *, idempotency_key: str | None = None) -> Upload:
        """Begin an upload; with the same key again: the same upload. Without a key it is sent only once, unless the
        server certainly did not see it."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        call = Call("POST", "/v1/uploads", headers=headers, document=request, repeatable=bool(idempotency_key))
        return Upload.parse(await self._transport.send_json(call))

    async def get_upload(self, upload_id: str) -> Upload:
        """The upload with the chunks that are still missing."""
        return Upload.parse(await self._transport.send_json(Call("GET", f"/v1/uploads/{_id(upload_id)}")))

    async def put_chunk(
        self,
        upload_id: str,
        index: int,
        body: Body,
        *,
        size: int,
        sha256: bytes | None = None,
        budget: RetryBudget | None = None,
    ) -> ChunkReceipt:
        """Send one chunk of `size` bytes; `sha256` goes along as Content-Digest (RFC 9530)."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        if sha256 is not None:
            headers["Content-Digest"] = digest_field(sha256)
        call = Call("PUT", f"/v1/uploads/{_id(upload_id)}/chunks/{int(index)}", headers=headers, body=body)
        return ChunkReceipt.parse(await self._transport.send_json(call, budget))

    async def parts_page(self, upload_id: str, *, cursor: str | None = None) -> tuple[Link, ...]:
        """Links for the next missing chunks of a direct upload; `cursor` may be the number of a chunk."""
        call = Call("GET", f"/v1/uploads/{_id(upload_id)}/parts", _params(cursor=cursor))
        return parse_links(await self._transport.send_json(call))

    async def put_direct(self, link: Link, body: Body, *, md5: bytes | None = None) -> None:
        """Send one chunk to the store; `md5` goes along as Content-MD5, which the store compares. Nothing that is meant
        for the server (its headers) goes with it."""
        headers = {"Content-Type": "application/octet-stream", **link.headers}
        if md5 is not None:
            headers["Content-MD5"] = base64.b64encode(md5).decode()
        await self._store.send(Call("PUT", link.url, headers=headers, body=body))

    async def finalize(self, upload_id: str, *, digests: Mapping[str, str] | None = None) -> Job:
        """Ask for the upload to become a file; `digests` of the whole file as hexadecimal text."""
        document = {"digests": dict(digests)} if digests else {}
        call = Call("POST", f"/v1/uploads/{_id(upload_id)}/finalize", document=document)
        return Job.parse(await self._transport.send_json(call))

    async def abort(self, upload_id: str) -> None:
        """Give the upload up; its bytes are removed."""
        await self._delete(f"/v1/uploads/{_id(upload_id)}")

    # jobs

    async def get_job(self, job_id: str, *, wait: float = 0) -> Job:
        """The job; with `wait` the server holds the answer up to that many seconds until it is finished."""
        params = [("wait", f"{wait:g}")] if wait > 0 else []
        call = Call("GET", f"/v1/jobs/{_id(job_id)}", params, read_timeout=wait + 60.0)
        return Job.parse(await self._transport.send_json(call))

    async def wait_for_job(self, job_id: str, *, timeout: float | None = None) -> Job:
        """The job once it is finished, whether it succeeded or not. Raises JobTimeoutError after `timeout` seconds."""
        clock = asyncio.get_running_loop()
        deadline = None if timeout is None else clock.time() + timeout
        while True:
            asked = clock.time()
            left = LONG_POLL if deadline is None else max(0.0, min(LONG_POLL, deadline - asked))
            job = await self.get_job(job_id, wait=left)
            if job.finished:
                return job
            now = clock.time()
            if deadline is not None and now >= deadline:
                raise JobTimeoutError(job, timeout or 0)
            if now - asked < min(1.0, left):
                # The server does not hold answers back (draining, or too many waiters): do not spin.
                await asyncio.sleep(0.5 if deadline is None else min(0.5, deadline - now))

    async def retry_job(self, job_id: str) -> Job:
        """Drive a dead letter (failed with `attempts_exhausted`) again; the job as it is now queued."""
        return Job.parse(await self._transport.send_json(Call("POST", f"/v1/jobs/{_id(job_id)}/retry")))

    async def jobs_page(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Job]:
        """One page of jobs, newest first."""
        params = _params(state=state, kind=kind, limit=limit, cursor=cursor)
        body = await self._transport.send_json(Call("GET", "/v1/jobs", params))
        return Page(tuple(Job.parse(item) for item in body.get("items") or ()), body.get("next_cursor"))

    async def list_jobs(
        self, *, state: str | None = None, kind: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Job]:
        """All jobs that match, page after page. `limit` is the page size."""
        cursor: str | None = None
        while True:
            page = await self.jobs_page(state=state, kind=kind, limit=limit, cursor=cursor)
            for job in page.items:
                yield job
            if (cursor := page.next_cursor) is None:
                return

    # files

    async def files_page(
        self, *, limit: int | None = None, cursor: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> Page[FileInfo]:
        """One page of files, newest first. `filters` are the query parameters of the contract: filename, tag,
        content_type, created_after, ...; a list repeats the parameter."""
        params = _params(limit=limit, cursor=cursor, **(filters or {}))
        body = await self._transport.send_json(Call("GET", "/v1/files", params))
        return Page(tuple(FileInfo.parse(item) for item in body.get("items") or ()), body.get("next_cursor"))

    async def list_files(
        self, *, limit: int | None = None, filters: Mapping[str, Any] | None = None
    ) -> AsyncIterator[FileInfo]:
        """All files that match, page after page. `limit` is the page size."""
        cursor: str | None = None
        while True:
            page = await self.files_page(limit=limit, cursor=cursor, filters=filters)
            for file in page.items:
                yield file
            if (cursor := page.next_cursor) is None:
                return

    async def get_file(self, file_id: str) -> FileInfo:
        """What is known about a file."""
        return FileInfo.parse(await self._transport.send_json(Call("GET", f"/v1/files/{_id(file_id)}")))

    async def patch_file(self, file_id: str, changes: Mapping[str, Any]) -> FileInfo:
        """Change `description`, `tags` or `metadata`; what is not named stays."""
        call = Call("PATCH", f"/v1/files/{_id(file_id)}", document=changes)
        return FileInfo.parse(await self._transport.send_json(call))

    async def delete_file(self, file_id: str) -> None:
        """Remove a file for good."""
        await self._delete(f"/v1/files/{_id(file_id)}")

    async def post_file(
        self, data: bytes, filename: str, *, content_type: str = "application/octet-stream", wait: int = 0
    ) -> Job:
        """Send one small file in one request; the job that will publish it. With `wait` the server holds the answer up
        to that many seconds until it is finished. The request is not repeated when its outcome is unknown: the call has
        no idempotency key, and two files could come of it."""
        headers = {"Content-Type": content_type, "Content-Disposition": attachment(filename)}
        if wait > 0:
            headers["Prefer"] = f"wait={wait}"  # RFC 7240
        limit = wait + 60.0
        call = Call("POST", "/v1/files", headers=headers, body=data, repeatable=False, read_timeout=limit)
        return Job.parse(await self._transport.send_json(call))

    # more than a call

    async def upload_file(self, path: str | os.PathLike[str], options: UploadOptions | None = None) -> UploadResult:
        """Upload a regular file: begin or resume, send what is missing, finalize, wait.

        Besides the errors of the single calls: FileChangedError, IntegrityError, JobFailedError,
        JobTimeoutError, OSError when the file cannot be read.
        """
        options = options or UploadOptions()
        with FileSource(path) as source:
            key = state_key(self.base_url, source.path, source.size, source.mtime_ns)
            return await Uploader(self._telling(options.on_retry), source, options, key).run()

    async def upload_bytes(self, data: bytes, filename: str, options: UploadOptions | None = None) -> UploadResult:
        """Upload bytes from memory; the same, without resume in a later process."""
        options = options or UploadOptions()
        return await Uploader(self._telling(options.on_retry), BytesSource(data, filename), options).run()

    async def download(
        self,
        file_id: str,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: ProgressCallback | None = None,
        on_retry: RetryCallback | None = None,
    ) -> DownloadResult:
        """Write a file's content to `path`: whole and verified, or not at all. Broken connections go on where they
        stopped. Raises DownloadError when `path` exists (without `overwrite`) or has no folder, IntegrityError,
        OSError."""
        call = Call("GET", f"/v1/files/{_id(file_id)}/content", headers={"Accept-Encoding": "identity"})
        transport = self._transport.telling(on_retry)
        return await fetch_to_path(transport, call, path, overwrite=overwrite, progress=progress)

    async def read_range(self, file_id: str, start: int, length: int) -> bytes:
        """`length` bytes from offset `start`; fewer when the file ends before."""
        call = Call("GET", f"/v1/files/{_id(file_id)}/content", headers={"Accept-Encoding": "identity"})
        return await fetch_range(self._transport, call, start, length)

    def _telling(self, on_retry: RetryCallback | None) -> AsyncClient:
        """This client for one piece of work with a callback of its own."""
        one = copy.copy(self)
        one._transport = self._transport.telling(on_retry)
        one._store = self._store.telling(on_retry)
        return one

    async def _delete(self, path: str) -> None:
        try:
            await self._transport.send(Call("DELETE", path))
        except SluiceApiError as error:
            # The answer to the first attempt was lost: gone is what was asked for.
            if error.status not in (404, 410) or error.attempts == 1:
                raise


def _id(value: str) -> str:
    if not value or value.strip(".") == "":
        raise InvalidArgumentError(f"{value!r} is not an id")
    return quote(value, safe="")


def _params(**given: Any) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in given.items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs.extend((name, str(one)) for one in values if one is not None)
    return pairs
