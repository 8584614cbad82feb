"""Alembic's entry point. The connection comes from `common.db.migrate`, which also holds the lock."""

from typing import Any

from alembic import context
from sqlalchemy import inspect, update

from common.db.models import Base, SchemaFloor
from common.db.steps import oldest_served_by

connection = context.config.attributes["connection"]


def _remember(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:
    """The oldest version that the new schema serves, in the same transaction as the step."""
    del heads, run_args
    if step.is_upgrade and inspect(ctx.connection).has_table(SchemaFloor.__tablename__):
        ctx.connection.execute(update(SchemaFloor).values(oldest=oldest_served_by(step.up_revision_id)))


context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    compare_type=True,
    render_as_batch=connection.dialect.name == "sqlite",  # SQLite alters a table by copying it
    transaction_per_migration=True,  # in SQLite there is one around all of them already
    on_version_apply=_remember,
)
with context.begin_transaction():
    context.run_migrations()
