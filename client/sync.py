"""The SDK for code that is not async: the same calls, run on an event loop in a thread of its own. So there is one
implementation, and it also works for a caller that is itself inside a running loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from client.api import AsyncClient
from client.download import DownloadResult
from client.errors import InvalidArgumentError
from client.models import ChunkReceipt, FileInfo, Job, Limits, Page, Upload
from client.options import ProgressCallback, UploadOptions, UploadResult
from client.retry import RetryCallback, RetryPolicy

T = TypeVar("T")


class Client:
    """`AsyncClient` without `async`; each method is documented there. Use it as `with`, or call `close`.

    Safe to use from several threads. Callbacks are called from the private thread.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = AsyncClient(base_url, headers=headers, retry=retry, transport=transport)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sluice-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread; the second call does nothing."""
        if self._loop.is_closed():
            return
        try:
            self._run(self._client.aclose())
            self._run(self._loop.shutdown_asyncgens())
            self._run(self._loop.shutdown_default_executor())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    @property
    def base_url(self) -> str:
        return self._client.base_url

    def limits(self) -> Limits:
        return self._run(self._client.limits())

    def create_upload(self, request: Mapping[str, Any], *, idempotency_key: str | None = None) -> Upload:
        return self._run(self._client.create_upload(request, idempotency_key=idempotency_key))

    def get_upload(self, upload_id: str) -> Upload:
        return self._run(self._client.get_upload(upload_id))

    def put_chunk(self, upload_id: str, index: int, body: bytes, *, sha256: bytes | None = None) -> ChunkReceipt:
        return self._run(self._client.put_chunk(upload_id, index, body, size=len(body), sha256=sha256))

    def finalize(self, upload_id: str, *, digests: Mapping[str, str] | None = None) -> Job:
        return self._run(self._client.finalize(upload_id, digests=digests))

    def abort(self, upload_id: str) -> None:
        self._run(self._client.abort(upload_id))

    def get_job(self, job_id: str, *, wait: float = 0) -> Job:
        return self._run(self._client.get_job(job_id, wait=wait))

    def wait_for_job(self, job_id: str, *, timeout: float | None = None) -> Job:
        return self._run(self._client.wait_for_job(job_id, timeout=timeout))

    def retry_job(self, job_id: str) -> Job:
        return self._run(self._client.retry_job(job_id))

    def jobs_page(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Job]:
        return self._run(self._client.jobs_page(state=state, kind=kind, limit=limit, cursor=cursor))

    def list_jobs(
        self, *, state: str | None = None, kind: str | None = None, limit: int | None = None
    ) -> Iterator[Job]:
        cursor: str | None = None
        while True:
            page = self.jobs_page(state=state, kind=kind, limit=limit, cursor=cursor)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def files_page(
        self, *, limit: int | None = None, cursor: str | None = None, filters: Mapping[str, Any] | None = None
    ) -> Page[FileInfo]:
        return self._run(self._client.files_page(limit=limit, cursor=cursor, filters=filters))

    def list_files(self, *, limit: int | None = None, filters: Mapping[str, Any] | None = None) -> Iterator[FileInfo]:
        cursor: str | None = None
        while True:
            page = self.files_page(limit=limit, cursor=cursor, filters=filters)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def get_file(self, file_id: str) -> FileInfo:
        return self._run(self._client.get_file(file_id))

    def patch_file(self, file_id: str, changes: Mapping[str, Any]) -> FileInfo:
        return self._run(self._client.patch_file(file_id, changes))

    def delete_file(self, file_id: str) -> None:
        self._run(self._client.delete_file(file_id))

    def post_file(
        self, data: bytes, filename: str, *, content_type: str = "application/octet-stream", wait: int = 0
    ) -> Job:
        return self._run(self._client.post_file(data, filename, content_type=content_type, wait=wait))

    def upload_file(self, path: str | os.PathLike[str], options: UploadOptions | None = None) -> UploadResult:
        return self._run(self._client.upload_file(path, options))

    def upload_bytes(self, data: bytes, filename: str, options: UploadOptions | None = None) -> UploadResult:
        return self._run(self._client.upload_bytes(data, filename, options))

    def download(
        self,
        file_id: str,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        progress: ProgressCallback | None = None,
        on_retry: RetryCallback | None = None,
    ) -> DownloadResult:
        call = self._client.download(file_id, path, overwrite=overwrite, progress=progress, on_retry=on_retry)
        return self._run(call)

    def read_range(self, file_id: str, start: int, length: int) -> bytes:
        return self._run(self._client.read_range(file_id, start, length))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        outcome: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            tasks.append(self._loop.create_task(call))
            tasks[0].add_done_callback(lambda task: _hand_over(task, outcome))

        def stop() -> None:
            tasks[0].cancel()

        if self._loop.is_closed():
            call.close()
            raise InvalidArgumentError("this client is closed")
        self._loop.call_soon_threadsafe(start)
        try:
            return outcome.result()
        except BaseException:
            # Ctrl-C lands here: end the call in its own thread too, and wait until it has let go.
            if not outcome.done():
                self._loop.call_soon_threadsafe(stop)
                wait([outcome])
            raise


def _hand_over(task: asyncio.Task[T], outcome: Future[T]) -> None:
    if task.cancelled():
        outcome.cancel()
        outcome.set_running_or_notify_cancel()
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
