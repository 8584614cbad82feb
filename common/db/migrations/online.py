"""Indexes made and dropped beside a service that runs: PostgreSQL lets others write meanwhile, outside a transaction.

A step that uses these does nothing else, and may be run again from its beginning: a build that was cut off leaves an
index that is not valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

LONGEST_WAIT = 300  # seconds for the transactions of others to end


def create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    """As `op.create_index`; what stands under that name already is a leftover."""
    if not _postgresql():
        op.create_index(name, table, columns, **options)
        return
    with _outside_a_transaction():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)


def drop_index(name: str, table: str) -> None:
    """As `op.drop_index`; fine when it is gone."""
    if not _postgresql():
        op.drop_index(name, table, if_exists=True)
        return
    with _outside_a_transaction():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)


@contextmanager
def _outside_a_transaction() -> Iterator[None]:
    """It waits for every open transaction of the database, and nobody waits for it: so it may wait for long."""
    with op.get_context().autocommit_block():
        before = op.get_bind().scalar(sa.text("SHOW lock_timeout"))
        op.execute(f"SET lock_timeout = '{LONGEST_WAIT}s'")
        try:
            yield
        finally:
            op.execute(f"SET lock_timeout = '{before}'")


def _postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
