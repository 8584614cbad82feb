"""The tables. Columns only; every statement is in the repository modules. Sizes are bytes, times are UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from common.db.clock import UtcDateTime

Json = JSON().with_variant(JSONB(), "postgresql")
Id = String(36)
Tenant = String(64)
State = String(16)
NOT_LIVE = "state NOT IN ('open', 'finalizing')"  # of an upload; for statements that the index below serves
_ENDED, _UNCLEANED = "finished_at IS NOT NULL", "cleaned IS false"


def _where(condition: str) -> dict[str, Any]:
    """The condition of an index on some rows. A statement is served by it that says the same, in the same words."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition.replace("false", "0"))}


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Upload(Base):
    """One transfer being made. `file_id` is where it is sealed to, chosen with the upload; shown when complete."""

    __tablename__ = "uploads"
    __table_args__ = (
        UniqueConstraint("tenant", "idempotency_key"),
        Index("ix_uploads_expiry", "state", "expires_at"),
        Index("ix_uploads_left", "id", **_where(f"{_UNCLEANED} AND {NOT_LIVE}")),
        Index("ix_uploads_sealing", "file_id", **_where(_UNCLEANED)),
        Index("ix_uploads_ended", "finished_at", **_where(_ENDED)),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant: Mapped[str] = mapped_column(Tenant)
    state: Mapped[str] = mapped_column(State)
    filename: Mapped[str] = mapped_column(Text)
    size: Mapped[int | None] = mapped_column(BigInteger)  # None: a stream whose end is not known yet
    chunk_size: Mapped[int] = mapped_column(BigInteger)
    content_type: Mapped[str | None] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", Json)
    tags: Mapped[dict[str, str]] = mapped_column(Json)
    digests: Mapped[dict[str, str]] = mapped_column(Json)  # declared by the client, hex
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    fingerprint: Mapped[str | None] = mapped_column(String(64))  # of the create request, to refuse a reused key
    file_id: Mapped[str | None] = mapped_column(Id)
    job_id: Mapped[str | None] = mapped_column(Id)
    direct: Mapped[bool] = mapped_column(default=False, server_default=false())  # chunks go to the store without us
    stream: Mapped[bool] = mapped_column(default=False, server_default=false())  # takes appends in place of chunks
    partial: Mapped[bool] = mapped_column(default=False, server_default=false())  # becomes a file only with others
    parts: Mapped[int | None] = mapped_column(Integer)  # how many others it is put together of; None: it has own bytes
    surface: Mapped[dict[str, Any] | None] = mapped_column(Json)  # what its surface has to say again, as received
    round: Mapped[int] = mapped_column(Integer, default=0)  # grows when damaged chunks reopen the upload
    whole_crc64: Mapped[str | None] = mapped_column(String(16))  # hex; receipt of an upload that came in one request
    cleaned: Mapped[bool] = mapped_column(default=False)  # nothing of it is left in the storage but the file
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class UploadPart(Base):
    """A partial upload that another upload, the final one, is put together of; it may stand in several."""

    __tablename__ = "upload_parts"
    __table_args__ = (Index("ix_upload_parts_partial", "partial_id"),)

    final_id: Mapped[str] = mapped_column(Id, ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    partial_id: Mapped[str] = mapped_column(Id)


class Job(Base):
    """A unit of queued work. `fence` grows with each lease; `epoch` with each ring of the bell.

    `bell` names the first ring where it was one for several jobs (`common.queue`).
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("upload_id", "kind", "round"),
        # `lease_until` stands in no index: then the heartbeat changes nothing but the row
        Index("ix_jobs_waiting", "state", "kind", "next_attempt_at"),
        Index("ix_jobs_ended", "finished_at", **_where(_ENDED)),
        Index("ix_jobs_page", "tenant", "created_at", "id"),
        Index("ix_jobs_page_state", "tenant", "state", "created_at", "id"),
        {"postgresql_with": {"fillfactor": 60}},  # per cent; a new version of a row finds room beside the old one
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant: Mapped[str] = mapped_column(Tenant)
    kind: Mapped[str] = mapped_column(State)
    state: Mapped[str] = mapped_column(State)
    upload_id: Mapped[str] = mapped_column(Id)
    file_id: Mapped[str | None] = mapped_column(Id)
    round: Mapped[int] = mapped_column(Integer, default=0)
    size: Mapped[int] = mapped_column(BigInteger)  # bytes to go through: the total of its progress
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    epoch: Mapped[int] = mapped_column(Integer, default=0)
    bell: Mapped[str | None] = mapped_column(Id)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    next_attempt_at: Mapped[datetime] = mapped_column(UtcDateTime)
    rung_at: Mapped[datetime] = mapped_column(UtcDateTime)
    request_id: Mapped[str | None] = mapped_column(String(64))
    trace_context: Mapped[str | None] = mapped_column(String(55))  # W3C traceparent; None: no trace
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(Text)
    error_extras: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class File(Base):
    """A published, immutable file; only description, tags and metadata may change."""

    __tablename__ = "files"
    __table_args__ = (
        UniqueConstraint("upload_id"),
        Index("ix_files_page", "tenant", "created_at", "id"),
        Index("ix_files_page_filename", "tenant", "filename", "created_at", "id"),
        Index("ix_files_page_content_type", "tenant", "content_type", "created_at", "id"),
        Index("ix_files_scrub", "state", "scrubbed_at"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant: Mapped[str] = mapped_column(Tenant)
    upload_id: Mapped[str] = mapped_column(Id)
    state: Mapped[str] = mapped_column(State)
    filename: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    content_type: Mapped[str] = mapped_column(Text)
    detected_type: Mapped[str | None] = mapped_column(Text)
    digests: Mapped[dict[str, str]] = mapped_column(Json)  # computed from what is stored, hex
    verified: Mapped[str] = mapped_column(State)  # read | receipts
    description: Mapped[str | None] = mapped_column(Text)
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", Json)
    tags: Mapped[dict[str, str]] = mapped_column(Json)
    attributes: Mapped[dict[str, Any] | None] = mapped_column(Json)  # None until the metadata job has run
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    scrubbed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # when its bytes were last known to be right


class StorageIdentity(Base):
    """The storage that holds the bytes of this database; the same id stands in a mark in the storage itself."""

    __tablename__ = "storage_identity"

    name: Mapped[str] = mapped_column(State, primary_key=True)
    storage_id: Mapped[str] = mapped_column(Id)


class FileTag(Base):
    """One tag of one file, for listing by tag. `files.tags` is what is shown; both change in one transaction."""

    __tablename__ = "file_tags"
    __table_args__ = (
        Index("ix_file_tags_page", "tenant", "key", "value", "created_at", "file_id"),
        Index("ix_file_tags_page_key", "tenant", "key", "created_at", "file_id"),
    )

    file_id: Mapped[str] = mapped_column(Id, ForeignKey("files.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    tenant: Mapped[str] = mapped_column(Tenant)
    value: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Pass(Base):
    """When one worker of all makes the next pass of this name, and who made the last one."""

    __tablename__ = "passes"

    name: Mapped[str] = mapped_column(State, primary_key=True)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    taken_by: Mapped[str | None] = mapped_column(String(64))


class SchemaFloor(Base):
    """The oldest version of ours that this schema serves, by its revision (`common.db.schema`)."""

    __tablename__ = "schema_floor"

    name: Mapped[str] = mapped_column(State, primary_key=True)
    oldest: Mapped[str] = mapped_column(State)
