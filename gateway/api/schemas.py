"""JSON shapes of the native surface: snake_case, sizes in bytes, times RFC 3339 in UTC, digests in hex."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from common.db.models import File, Job
from common.errors import MetadataTooLarge
from common.states import JobKind, JobState, UploadState
from gateway.service.jobs import JobStatus
from gateway.service.requests import Description, NewUpload, parse_tags
from gateway.service.uploads import UploadStatus

DigestMap = dict[str, str]
Transport = Literal["gateway", "direct"]
DIGEST_EXAMPLE: dict[str, JsonValue] = {"sha-256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}


# Far above every limit: what has more is refused before each member is looked at and finds its own place in the answer.
MOST_MEMBERS = 100
MOST_TAGS = 1000  # as many as `max_tags` can be


def _tags(value: Any) -> Any:
    """`{"k": "v"}` is the form; a list of `k=v` or `k` texts is taken too."""
    if isinstance(value, dict | list) and len(value) > MOST_TAGS:
        raise MetadataTooLarge(f"A file may have at most {MOST_TAGS} tags.", limit=MOST_TAGS)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return parse_tags(value)
    return value


def _few(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > MOST_MEMBERS:
        raise ValueError(f"may have at most {MOST_MEMBERS} members")
    return value


Declared = Annotated[DigestMap, BeforeValidator(_few)]
Tags = Annotated[dict[str, str], BeforeValidator(_tags)]


class Shape(BaseModel):
    """Base of requests: unknown members are refused, so that a typing mistake is not silently ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_members(cls, value: Any) -> Any:
        return _few(value)


class UploadCreate(Shape):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "filename": "measurements.csv",
                "size": 268435456,
                "content_type": "text/csv",
                "digests": DIGEST_EXAMPLE,
                "metadata": {"station": 12},
                "tags": {"project": "north"},
            }
        },
    )
    filename: str = Field(description="The last part of a path; data, never used as a path.")
    size: int = Field(strict=True, description="Bytes of the whole file.")
    content_type: str | None = None
    chunk_size: int | None = Field(
        None, strict=True, description="Bytes; within `GET /v1/limits`. Default: our choice."
    )
    transport: Transport = Field("gateway", description="`direct`: chunks go to the store by links that we sign.")
    digests: Declared = Field(default_factory=dict, description="Of the whole file; compared before it is published.")
    description: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    tags: Tags = Field(default_factory=dict)

    def wanted(self) -> NewUpload:
        about = Description(self.description, self.metadata, self.tags)
        direct = self.transport == "direct"
        return NewUpload(self.filename, self.size, self.content_type, self.chunk_size, self.digests, about, direct)


class FinalizeRequest(Shape):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"digests": DIGEST_EXAMPLE}})
    digests: Declared = Field(default_factory=dict)


class FilePatch(Shape):
    """Members that are absent stay as they are; `tags` and `metadata` are replaced as a whole."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"tags": {"project": "south"}}})
    description: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    tags: Tags = Field(default_factory=dict)

    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True)


class UploadView(BaseModel):
    id: str
    state: UploadState
    filename: str
    size: int | None
    chunk_size: int
    chunk_count: int | None
    received_bytes: int
    missing: list[tuple[int, int]] = Field(description="Ranges of chunk indexes, first and last included.")
    transport: Transport
    content_type: str | None
    digests: DigestMap
    description: str | None
    metadata: dict[str, Any]
    tags: dict[str, str]
    created_at: datetime
    expires_at: datetime
    job_id: str | None = None
    file_id: str | None = None
    links: dict[str, str]

    @classmethod
    def of(cls, status: UploadStatus, prefix: str) -> UploadView:
        """`prefix` stands in front of our paths as clients see them (`Locations.prefix`)."""
        upload = status.upload
        here = f"{prefix}/v1/uploads/{upload.id}"
        links = {"self": here, "chunks": f"{here}/chunks/{{index}}", "finalize": f"{here}/finalize"}
        file_id = upload.file_id if upload.state == UploadState.COMPLETE else None
        if upload.direct:
            links["parts"] = f"{here}/parts"
        if upload.job_id:
            links["job"] = f"{prefix}/v1/jobs/{upload.job_id}"
        if file_id:
            links["file"] = f"{prefix}/v1/files/{file_id}"
        return cls(
            id=upload.id,
            state=UploadState(upload.state),
            filename=upload.filename,
            size=upload.size,
            chunk_size=upload.chunk_size,
            chunk_count=None if upload.size is None else -(-upload.size // upload.chunk_size),
            received_bytes=status.received_bytes,
            missing=status.missing,
            transport="direct" if upload.direct else "gateway",
            content_type=upload.content_type,
            digests=upload.digests,
            description=upload.description,
            metadata=upload.meta,
            tags=upload.tags,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
            job_id=upload.job_id,
            file_id=file_id,
            links=links,
        )


class ChunkView(BaseModel):
    index: int
    size: int
    digests: DigestMap


class JobErrorView(BaseModel):
    model_config = ConfigDict(extra="allow")
    code: str
    detail: str


class Progress(BaseModel):
    done: int
    total: int


class JobView(BaseModel):
    id: str
    kind: JobKind
    state: JobState
    attempts: int
    progress: Progress
    upload_id: str
    file_id: str | None = None
    error: JobErrorView | None = None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, status: JobStatus, prefix: str) -> JobView:
        job = status.job
        # The file's id is chosen at finalize; it is shown when there is a file.
        published = job.kind == JobKind.METADATA or job.state == JobState.SUCCEEDED
        links = {"self": f"{prefix}/v1/jobs/{job.id}", "upload": f"{prefix}/v1/uploads/{job.upload_id}"}
        if published and job.file_id:
            links["file"] = f"{prefix}/v1/files/{job.file_id}"
            links["content"] = f"{prefix}/v1/files/{job.file_id}/content"
        return cls(
            id=job.id,
            kind=JobKind(job.kind),
            state=JobState(job.state),
            attempts=job.attempts,
            progress=Progress(done=status.done, total=job.size),
            upload_id=job.upload_id,
            file_id=job.file_id if published else None,
            error=_error_of(job),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            links=links,
        )


def _error_of(job: Job) -> JobErrorView | None:
    if job.error_code is None or job.state == JobState.SUCCEEDED:
        return None
    return JobErrorView(code=job.error_code, detail=job.error_detail or "", **(job.error_extras or {}))


class JobPage(BaseModel):
    items: list[JobView]
    next_cursor: str | None


class FileView(BaseModel):
    id: str
    state: str
    filename: str
    size: int
    content_type: str
    detected_type: str | None
    digests: DigestMap
    verified: str = Field(
        description="`read`: all bytes were read back; `receipts`: the CRCs of the chunks are trusted."
    )
    description: str | None
    metadata: dict[str, Any]
    tags: dict[str, str]
    attributes: dict[str, Any] | None = Field(description="What the bytes tell; null until the metadata job has run.")
    upload_id: str
    created_at: datetime
    links: dict[str, str]

    @classmethod
    def of(cls, file: File, prefix: str) -> FileView:
        here = f"{prefix}/v1/files/{file.id}"
        return cls(
            id=file.id,
            state=file.state,
            filename=file.filename,
            size=file.size,
            content_type=file.content_type,
            detected_type=file.detected_type,
            digests=file.digests,
            verified=file.verified,
            description=file.description,
            metadata=file.meta,
            tags=file.tags,
            attributes=file.attributes,
            upload_id=file.upload_id,
            created_at=file.created_at,
            links={"self": here, "content": f"{here}/content"},
        )


class FilePage(BaseModel):
    items: list[FileView]
    next_cursor: str | None


class AcceptedFile(BaseModel):
    filename: str
    upload_id: str
    job_id: str


class AcceptedFiles(BaseModel):
    files: list[AcceptedFile]


class ChunkLimits(BaseModel):
    min: int
    max: int
    default: str = Field(description="The rule by which a size is chosen where the client asks for none.")


class Limits(BaseModel):
    max_file_size: int
    chunk_size: ChunkLimits
    max_chunks: int
    max_metadata_bytes: int
    max_tags: int
    allowed_extensions: list[str] = Field(description="Empty: all.")
    digest_algorithms: list[str]
    surfaces: list[str]


class Problem(BaseModel):
    """RFC 9457. Some codes bring members of their own, as `missing` with `chunks_missing`."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
