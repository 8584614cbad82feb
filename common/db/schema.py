"""Which schema a database has, and whether code of ours may run on it.

Versions run side by side during an upgrade, and an older one may come back: a step leaves the statements of the version
before working, or says in `serves` which one it needs (docs/operations.md, "Migrations"). The database remembers that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, inspect, select

from common.db.database import Database
from common.db.models import SchemaFloor

REVISION = re.compile(r"\d{4}")
FIRST = "0001"
ONLY = "default"  # the one row of `schema_floor`


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
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None or not inspect(connection).has_table(SchemaFloor.__tablename__):
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


def head_revision() -> str:
    """The newest revision in `migrations/versions`: the one that this code was written for."""
    head = steps().get_current_head()
    assert head is not None
    return head


def oldest_served_by(revision: str) -> str:
    """The oldest version that this schema serves: what its step says in `serves`, or else the step before."""
    step: Script | None = steps().get_revision(revision)
    while step is not None:
        said: str | None = getattr(step.module, "serves", None)
        if said is not None:
            return said
        before = step.down_revision
        assert before is None or isinstance(before, str), "the steps are one line"
        step = steps().get_revision(before) if before else None
    return FIRST


@cache
def steps() -> ScriptDirectory:
    """The steps, in `migrations/versions`."""
    return ScriptDirectory.from_config(alembic_config())


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
