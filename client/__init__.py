"""The Python SDK: upload, watch, list and download over the native HTTP surface.

Needs httpx and the standard library, and imports nothing else of this repository.

    async with AsyncClient("http://127.0.0.1:8000") as sluice:
        result = await sluice.upload_file("big.bin", UploadOptions(parallel=4))
        await sluice.download(result.file_id, "copy.bin")

`Client` has the same methods for code that is not async.
"""

from client.api import AsyncClient
from client.download import DownloadResult
from client.errors import (
    DownloadError,
    FileChangedError,
    IntegrityError,
    InvalidArgumentError,
    JobFailedError,
    JobTimeoutError,
    SluiceApiError,
    SluiceClientError,
    SluiceConnectionError,
    SluiceProtocolError,
)
from client.models import ChunkReceipt, FileInfo, Job, JobProblem, Limits, Page, Progress, Upload
from client.options import ProgressCallback, UploadOptions, UploadResult
from client.retry import RetryCallback, RetryNotice, RetryPolicy
from client.state import FileStateStore, ResumeState, StateStore
from client.sync import Client

__all__ = [
    "AsyncClient",
    "ChunkReceipt",
    "Client",
    "DownloadError",
    "DownloadResult",
    "FileChangedError",
    "FileInfo",
    "FileStateStore",
    "IntegrityError",
    "InvalidArgumentError",
    "Job",
    "JobFailedError",
    "JobProblem",
    "JobTimeoutError",
    "Limits",
    "Page",
    "Progress",
    "ProgressCallback",
    "ResumeState",
    "RetryCallback",
    "RetryNotice",
    "RetryPolicy",
    "SluiceApiError",
    "SluiceClientError",
    "SluiceConnectionError",
    "SluiceProtocolError",
    "StateStore",
    "Upload",
    "UploadOptions",
    "UploadResult",
]
