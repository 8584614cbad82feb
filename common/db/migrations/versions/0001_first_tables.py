"""Uploads, jobs, files and their tags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

MOMENT = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_files()
    _create_jobs()
    _create_uploads()
    _create_file_tags()


def downgrade() -> None:
    op.drop_index("ix_file_tags_page", table_name="file_tags")

    op.drop_table("file_tags")
    op.drop_index("ix_uploads_uncleaned", table_name="uploads")
    op.drop_index("ix_uploads_expiry", table_name="uploads")

    op.drop_table("uploads")
    op.drop_index("ix_jobs_page_state", table_name="jobs")
    op.drop_index("ix_jobs_page", table_name="jobs")
    op.drop_index("ix_jobs_lease", table_name="jobs")
    op.drop_index("ix_jobs_due", table_name="jobs")

    op.drop_table("jobs")
    op.drop_index("ix_files_state", table_name="files")
    op.drop_index("ix_files_page_filename", table_name="files")
    op.drop_index("ix_files_page_content_type", table_name="files")
    op.drop_index("ix_files_page", table_name="files")

    op.drop_table("files")


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("upload_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("detected_type", sa.Text(), nullable=True),
        sa.Column("digests", JSON, nullable=False),
        sa.Column("verified", sa.String(length=16), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("attributes", JSON, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sa.UniqueConstraint("upload_id", name="uq_files_upload_id"),
    )
    op.create_index("ix_files_page", "files", ["tenant", "created_at", "id"])
    op.create_index("ix_files_page_content_type", "files", ["tenant", "content_type", "created_at", "id"])
    op.create_index("ix_files_page_filename", "files", ["tenant", "filename", "created_at", "id"])
    op.create_index("ix_files_state", "files", ["state"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("upload_id", sa.String(length=36), nullable=False),
        sa.Column("file_id", sa.String(length=36), nullable=True),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("next_attempt_at", MOMENT, nullable=False),
        sa.Column("rung_at", MOMENT, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("error_extras", JSON, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("upload_id", "kind", "round", name="uq_jobs_upload_id_kind_round"),
    )
    op.create_index("ix_jobs_due", "jobs", ["state", "next_attempt_at"])
    op.create_index("ix_jobs_lease", "jobs", ["state", "lease_until"])
    op.create_index("ix_jobs_page", "jobs", ["tenant", "created_at", "id"])
    op.create_index("ix_jobs_page_state", "jobs", ["tenant", "state", "created_at", "id"])


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("chunk_size", sa.BigInteger(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("digests", JSON, nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("fingerprint", sa.String(length=64), nullable=True),
        sa.Column("file_id", sa.String(length=36), nullable=True),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("cleaned", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.UniqueConstraint("tenant", "idempotency_key", name="uq_uploads_tenant_idempotency_key"),
    )
    op.create_index("ix_uploads_expiry", "uploads", ["state", "expires_at"])
    op.create_index("ix_uploads_uncleaned", "uploads", ["cleaned", "state"])


def _create_file_tags() -> None:
    op.create_table(
        "file_tags",
        sa.Column("file_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name="fk_file_tags_file_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("file_id", "key", name="pk_file_tags"),
    )
    op.create_index("ix_file_tags_page", "file_tags", ["tenant", "key", "value", "created_at", "file_id"])
