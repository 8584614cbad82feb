"""What a caller may ask of an upload, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from client.errors import InvalidArgumentError
from client.models import Job
from client.retry import RetryCallback
from client.state import StateStore

ProgressCallback = Callable[[int, int], None]
"""Called with (sent, total) bytes: what the server holds plus what is on its way. It can step back when a chunk has
to be sent again. Called from the event loop's thread; it must return quickly and not raise."""


@dataclass(frozen=True)
class UploadOptions:
    """How to upload one file; every member has a usable default.

    `direct` sends the chunks straight to the store behind the server, by links that it signs; refused where it cannot.
    `chunk_size` in bytes (None: the server decides). `parallel` is the number of connections. `chunk_digests` sends a
    SHA-256 with every chunk, `file_digest` one of the whole file at finalize. `wait` False returns as soon as
    the server has accepted the job; `job_timeout` bounds the wait in seconds. With a `store` an upload that was
    interrupted goes on where it stopped, also in a later process. `progress` is told how far it is, `on_retry` that a
    request failed and will be made again.
    """

    filename: str | None = None
    content_type: str | None = None
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    chunk_size: int | None = None
    direct: bool = False
    parallel: int = 4
    chunk_digests: bool = True
    file_digest: bool = True
    wait: bool = True
    job_timeout: float | None = None
    store: StateStore | None = None
    progress: ProgressCallback | None = None
    on_retry: RetryCallback | None = None

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise InvalidArgumentError("parallel must be at least 1")

    def request(self, filename: str, size: int) -> dict[str, Any]:
        """The body of the create request; what was not asked for is left out."""
        body: dict[str, Any] = {"filename": self.filename or filename, "size": size}
        wanted = {
            "content_type": self.content_type,
            "chunk_size": self.chunk_size,
            "transport": "direct" if self.direct else None,
            "description": self.description,
            "tags": dict(self.tags),
            "metadata": dict(self.metadata),
        }
        body.update({name: value for name, value in wanted.items() if value})
        return body


@dataclass(frozen=True)
class UploadResult:
    """An upload that reached its end.

    `file_id` is None only where `wait` was off. `resumed` says that an earlier upload went on; `sent_bytes` were
    sent by this call, the rest of `size` was there already. `sha256` is hexadecimal text, None when neither side
    computed it yet.
    """

    upload_id: str
    file_id: str | None
    job: Job
    filename: str
    size: int
    sha256: str | None
    resumed: bool
    sent_bytes: int
