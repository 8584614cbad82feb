"""Uploads whose chunks go from the client to the store without us."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # with a default of the server's: processes of the version before insert rows without it
    op.add_column("uploads", sa.Column("direct", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    op.drop_column("uploads", "direct")
