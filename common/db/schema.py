"""Which schema a database has, and whether code of ours may run on it.

Versions run side by side during an upgrade, and an older one may come back: a step leaves the statements of the version
before working, or says in `serves` which one it needs (docs/operations.md, "Migrations"). The database remembers that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from common.db.database import Database
from common.db.models import SchemaFloor

REVISION = re.compile(r"\d{4}")
FIRST = "0001"
ONLY = "default"  # the one row of `schema_floor`
STEPS = Path(__file__).parent / "migrations"
_NOTED = table("alembic_version", column("version_num"))  # Alembic's own; only who migrates loads Alembic: 7 MiB


@dataclass(frozen=True, slots=True)
class Schema:
    """`revision`: None where there are no tables of ours. `oldest`: the oldest version that it serves, by revision."""

    revision: str | None
    oldest: str = FIRST

    def serves(self, code: str) -> bool:
        """Whether code that was written for revision `code` may run on it."""
        ours = self.revision is not None and REVISION.fullmatch(self.revision) is not None
        return ours and self.oldest <= code <= str(self.revision)

    def trouble_for(self, code: str) -> str:
        """What is in the way of that code, in words for the operator; empty when nothing is."""
        if self.serves(code):
            return ""
        if self.revision is None:
            return f"the database is not at schema {code}, it has no tables of ours: run `sluice migrate`"
        if REVISION.fullmatch(self.revision) is None:
            return f"the database belongs to another service (its schema is {self.revision})"
        if self.revision < code:
            return f"the database is not at schema {code} but at {self.revision}: run `sluice migrate`"
        now = f"the database is at schema {self.revision}"
        return f"{now}, too new for this version ({code}): run one from {self.oldest} on"


def read_schema(connection: Connection) -> Schema:
    """What the database says of itself."""
    found = inspect(connection)
    revision = connection.scalar(select(_NOTED.c.version_num)) if found.has_table(_NOTED.name) else None
    if revision is None or not found.has_table(SchemaFloor.__tablename__):
        return Schema(revision)
    return Schema(revision, connection.scalar(select(SchemaFloor.oldest).where(SchemaFloor.name == ONLY)) or FIRST)


async def schema_of(database: Database) -> Schema:
    """The same. Raises DatabaseUnavailable."""
    async with database.reading() as repository:
        connection = await repository.session.connection()
        return await connection.run_sync(read_schema)


async def serves_us(database: Database) -> bool:
    """Whether this code may run on the schema. Raises DatabaseUnavailable."""
    return (await schema_of(database)).serves(head_revision())


@cache
def head_revision() -> str:
    """The newest revision in `migrations/versions`: the one that this code was written for."""
    names = [path.name[:4] for path in (STEPS / "versions").glob("*.py")]
    return max(name for name in names if REVISION.fullmatch(name))
