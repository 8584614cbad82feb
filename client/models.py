"""What the server answers, as frozen dataclasses. Unknown members are ignored, so that a newer server may add some;
`raw` keeps the JSON as it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from client.errors import SluiceProtocolError

Json = Mapping[str, Any]
Item = TypeVar("Item")

FINAL_JOB_STATES = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Limits:
    """What the server accepts; sizes in bytes, None where it does not say."""

    max_file_size: int | None
    max_chunks: int | None
    digest_algorithms: tuple[str, ...]
    surfaces: tuple[str, ...]
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def parse(cls, body: Json) -> Limits:
        return cls(
            body.get("max_file_size"),
            body.get("max_chunks"),
            tuple(body.get("digest_algorithms") or ()),
            tuple(body.get("surfaces") or ()),
            body,
        )


@dataclass(frozen=True)
class Upload:
    """One transfer being made. `missing` holds (first, last) chunk numbers, both included; sizes in bytes. `direct`:
    its chunks go to the store without the server."""

    id: str
    state: str
    filename: str
    size: int
    chunk_size: int
    chunk_count: int
    received_bytes: int
    missing: tuple[tuple[int, int], ...]
    expires_at: datetime | None
    job_id: str | None
    file_id: str | None
    direct: bool
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def parse(cls, body: Json) -> Upload:
        return cls(
            id=_text(body, "id"),
            state=_text(body, "state"),
            filename=str(body.get("filename") or ""),
            size=_number(body, "size"),
            chunk_size=_number(body, "chunk_size"),
            chunk_count=_number(body, "chunk_count"),
            received_bytes=int(body.get("received_bytes") or 0),
            missing=parse_ranges(body.get("missing")),
            expires_at=parse_time(body.get("expires_at")),
            job_id=body.get("job_id"),
            file_id=body.get("file_id"),
            direct=body.get("transport") == "direct",
            raw=body,
        )


@dataclass(frozen=True)
class ChunkReceipt:
    """The server's word that a chunk is stored: its number, its size in bytes, digests as hexadecimal text."""

    index: int
    size: int
    digests: Mapping[str, str]
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def parse(cls, body: Json) -> ChunkReceipt:
        return cls(_number(body, "index"), _number(body, "size"), _texts(body.get("digests")), body)


@dataclass(frozen=True)
class Progress:
    """How far a job is, in bytes; `total` 0 while it is not known."""

    done: int
    total: int


@dataclass(frozen=True)
class JobProblem:
    """Why a job failed: a stable code and a sentence."""

    code: str
    detail: str


@dataclass(frozen=True)
class Job:
    """A unit of queued work. `finished` jobs do not change any more."""

    id: str
    kind: str
    state: str
    attempts: int
    progress: Progress
    upload_id: str | None
    file_id: str | None
    error: JobProblem | None
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    raw: Json = field(repr=False, compare=False)

    @property
    def finished(self) -> bool:
        return self.state in FINAL_JOB_STATES

    @property
    def succeeded(self) -> bool:
        return self.state == "succeeded"

    @classmethod
    def parse(cls, body: Json) -> Job:
        progress = _object(body.get("progress"))
        error = _object(body.get("error"))
        return cls(
            id=_text(body, "id"),
            kind=str(body.get("kind") or ""),
            state=_text(body, "state"),
            attempts=int(body.get("attempts") or 0),
            progress=Progress(int(progress.get("done") or 0), int(progress.get("total") or 0)),
            upload_id=body.get("upload_id"),
            file_id=body.get("file_id"),
            error=JobProblem(str(error.get("code")), str(error.get("detail") or "")) if error else None,
            created_at=parse_time(body.get("created_at")),
            started_at=parse_time(body.get("started_at")),
            finished_at=parse_time(body.get("finished_at")),
            raw=body,
        )


@dataclass(frozen=True)
class FileInfo:
    """A published file. `digests` as hexadecimal text, `attributes` is what the metadata job found in the bytes."""

    id: str
    filename: str
    size: int
    content_type: str | None
    detected_type: str | None
    digests: Mapping[str, str]
    tags: Mapping[str, str]
    metadata: Json
    description: str | None
    attributes: Json
    state: str
    created_at: datetime | None
    raw: Json = field(repr=False, compare=False)

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the content as hexadecimal text, when the server knows it."""
        return self.digests.get("sha-256")

    @classmethod
    def parse(cls, body: Json) -> FileInfo:
        return cls(
            id=_text(body, "id"),
            filename=str(body.get("filename") or ""),
            size=_number(body, "size"),
            content_type=body.get("content_type"),
            detected_type=body.get("detected_type"),
            digests=_texts(body.get("digests")),
            tags=_texts(body.get("tags")),
            metadata=_object(body.get("metadata")),
            description=body.get("description"),
            attributes=_object(body.get("attributes")),
            state=str(body.get("state") or ""),
            created_at=parse_time(body.get("created_at")),
            raw=body,
        )


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page of a listing; `next_cursor` None means it was the last."""

    items: tuple[Item, ...]
    next_cursor: str | None


def parse_ranges(value: object) -> tuple[tuple[int, int], ...]:
    """`[[first, last], ...]` as tuples; an absent value means that nothing is named."""
    if value is None:
        return ()
    try:
        pairs = [(int(first), int(last)) for first, last in value]  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise SluiceProtocolError(f"`missing` is not a list of [first, last] pairs: {value!r}") from error
    return tuple(pairs)


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise SluiceProtocolError(f"the answer has no text member {name!r}")
    return value


def _number(body: Json, name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise SluiceProtocolError(f"the answer has no whole number {name!r}")
    return value


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> Mapping[str, str]:
    return {str(name): str(text) for name, text in _object(value).items()}


def parse_time(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise SluiceProtocolError(f"{value!r} is no RFC 3339 time") from error
