"""Small uploads that are one file in the storage. A worker of the version before does not know where to look, and would
end them as gone: it may not run on this schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
serves = "0010"


def upgrade() -> None:
    op.add_column("uploads", sa.Column("whole_crc64", sa.String(16), nullable=True))


def downgrade() -> None:
    op.drop_column("uploads", "whole_crc64")
