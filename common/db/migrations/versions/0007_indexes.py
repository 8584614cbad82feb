"""Indexes for what the sweep asks in every pass, and for listing by the key of a tag.

A pass costs the same however many rows have ended. A lease is in no index any more: the heartbeat changes only the row.
"""

from __future__ import annotations

import sqlalchemy as sa

from common.db.migrations.online import create_index, drop_index

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ENDED, UNCLEANED, SQLITE_UNCLEANED = "finished_at IS NOT NULL", "cleaned IS false", "cleaned IS 0"
NOT_LIVE = "state NOT IN ('open', 'finalizing')"


def where(condition: str, on_sqlite: str | None = None) -> dict[str, sa.TextClause]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(on_sqlite or condition)}


def upgrade() -> None:
    create_index("ix_jobs_waiting", "jobs", ["state", "kind", "next_attempt_at"])
    create_index("ix_jobs_ended", "jobs", ["finished_at"], **where(ENDED))
    create_index("ix_uploads_ended", "uploads", ["finished_at"], **where(ENDED))
    left = where(f"{UNCLEANED} AND {NOT_LIVE}", f"{SQLITE_UNCLEANED} AND {NOT_LIVE}")
    create_index("ix_uploads_left", "uploads", ["id"], **left)
    create_index("ix_uploads_sealing", "uploads", ["file_id"], **where(UNCLEANED, SQLITE_UNCLEANED))
    create_index("ix_file_tags_page_key", "file_tags", ["tenant", "key", "created_at", "file_id"])
    drop_index("ix_jobs_due", "jobs")
    drop_index("ix_jobs_lease", "jobs")
    drop_index("ix_uploads_uncleaned", "uploads")


def downgrade() -> None:
    create_index("ix_jobs_due", "jobs", ["state", "next_attempt_at"])
    create_index("ix_jobs_lease", "jobs", ["state", "lease_until"])
    create_index("ix_uploads_uncleaned", "uploads", ["cleaned", "state"])
    drop_index("ix_file_tags_page_key", "file_tags")
    drop_index("ix_uploads_sealing", "uploads")
    drop_index("ix_uploads_left", "uploads")
    drop_index("ix_uploads_ended", "uploads")
    drop_index("ix_jobs_ended", "jobs")
    drop_index("ix_jobs_waiting", "jobs")
