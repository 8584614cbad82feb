"""When the bytes of a file were last known to be right, for the scrub. Nullable: the version before does not set it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("files", sa.Column("scrubbed_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE files SET scrubbed_at = created_at")
    op.drop_index("ix_files_state", table_name="files")
    op.create_index("ix_files_scrub", "files", ["state", "scrubbed_at"])


def downgrade() -> None:
    op.drop_index("ix_files_scrub", table_name="files")
    op.create_index("ix_files_state", "files", ["state"])
    op.drop_column("files", "scrubbed_at")
