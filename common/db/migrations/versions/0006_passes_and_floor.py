"""Who makes the next pass of the sweep; the oldest version that the schema serves; room in the pages of jobs.

Their rows change many times: a new version of a row finds room beside the old one (docs/performance.md).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "passes",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_by", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_passes"),
    )
    floor = op.create_table(
        "schema_floor",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("oldest", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_schema_floor"),
    )
    op.execute(floor.insert().values(name="default", oldest="0001"))
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE jobs SET (fillfactor = 60)")


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute("ALTER TABLE jobs RESET (fillfactor)")
    op.drop_table("schema_floor")
    op.drop_table("passes")
