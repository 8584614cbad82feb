"""The steps of the migrations as Alembic knows them: for who migrates, not for a service that runs."""

from __future__ import annotations

from functools import cache

from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from common.db.schema import FIRST, STEPS


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
    config.set_main_option("script_location", str(STEPS))
    config.set_main_option("path_separator", "os")
    return config
