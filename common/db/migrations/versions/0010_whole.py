"""Uploads that came in one request. The version before neither makes nor reads them: workers go first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("whole_crc64", sa.String(16), nullable=True))


def downgrade() -> None:
    op.drop_column("uploads", "whole_crc64")
