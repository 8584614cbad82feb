"""Uploads that come as one stream, and those that are made of others. The version before neither sets nor reads it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    # with defaults of the server's: processes of the version before insert rows without them
    op.add_column("uploads", sa.Column("stream", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("uploads", sa.Column("partial", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("uploads", sa.Column("parts", sa.Integer(), nullable=True))
    op.add_column("uploads", sa.Column("surface", JSON, nullable=True))
    op.create_table(
        "upload_parts",
        sa.Column("final_id", sa.String(36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("partial_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("final_id", "position", name="pk_upload_parts"),
        sa.ForeignKeyConstraint(["final_id"], ["uploads.id"], name="fk_upload_parts_final_id", ondelete="CASCADE"),
    )
    op.create_index("ix_upload_parts_partial", "upload_parts", ["partial_id"])


def downgrade() -> None:
    op.drop_table("upload_parts")
    op.drop_column("uploads", "surface")
    op.drop_column("uploads", "parts")
    op.drop_column("uploads", "partial")
    op.drop_column("uploads", "stream")
