"""The ring that a job shares with others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("bell", sa.String(length=36), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "bell")
