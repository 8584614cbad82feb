"""Which storage belongs to this database, so that an unmounted volume is not taken for an empty one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "storage_identity",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("storage_id", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_storage_identity"),
    )


def downgrade() -> None:
    op.drop_table("storage_identity")
