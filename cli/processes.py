"""`sluice gateway`, `sluice worker`, `sluice migrate`: the parts of the service one by one.

Each command imports its own part when it runs: a worker needs no HTTP framework in its memory.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from common.errors import SettingsError, SluiceError
from common.settings import DatabaseSettings, Settings, load_settings
from common.startup import importing

EnvFile = Annotated[
    Path | None, typer.Option("--env-file", metavar="FILE", help="Settings that the environment does not name.")
]


def gateway(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8000,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A socket that listens already.")] = None,
    env_file: EnvFile = None,
) -> None:
    """Run one gateway process until Ctrl-C."""
    settings = settings_or_exit(env_file)
    with importing():
        from gateway.server import run

    raise typer.Exit(run(settings, host=host, port=port, fds=[] if fd is None else [fd]))


def worker(
    queues: Annotated[
        str | None, typer.Option(metavar="KIND,...", help="Job kinds to run.", show_default="all")
    ] = None,
    env_file: EnvFile = None,
) -> None:
    """Run one worker process until Ctrl-C."""
    settings = settings_or_exit(env_file, {} if queues is None else {"SLUICE_WORKER_QUEUES": queues})
    with importing():
        from worker.app import run

    raise typer.Exit(run(settings, queues=settings.worker.worker_queues))


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Only look: status 0 if the schema serves this version.")
    ] = False,
    wait: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="As --check, but wait until somebody else has migrated."),
    ] = None,
    env_file: EnvFile = None,
) -> None:
    """Bring the database schema up to date."""
    settings = settings_or_exit(env_file)
    if check or wait is not None:
        revision = _wait_for_schema(settings.database, wait or 0.0)
    elif settings.database.database_pooler != "none":
        typer.echo(
            "migrate: needs PostgreSQL itself, not a pooler: set its address and SLUICE_DATABASE_POOLER=none", err=True
        )
        raise typer.Exit(1)
    else:
        from common.db.migrate import migrate as bring_up_to_date

        try:
            revision = bring_up_to_date(settings.database.database_url)
        except SluiceError as error:
            typer.echo(f"migrate: {error.detail}", err=True)
            raise typer.Exit(1) from error
    typer.echo(f"database schema is at revision {revision}")


def _wait_for_schema(settings: DatabaseSettings, seconds: float) -> str:
    from common.db.database import Database
    from common.db.migrate import wait_until_served
    from common.db.schema import head_revision, schema_of

    async def look() -> tuple[str, str]:
        database = Database(settings, "sluice-migrate")
        try:
            reason = await wait_until_served(
                database,
                settings.database_url,
                seconds,
                stop=asyncio.Event(),
                waiting=lambda reason: typer.echo(f"migrate: waiting: {reason}", err=True),
            )
            return reason, "" if reason else (await schema_of(database)).revision or head_revision()
        finally:
            await database.close()

    reason, revision = asyncio.run(look())
    if reason:
        typer.echo(f"migrate: {reason}", err=True)
        raise typer.Exit(1)
    return revision


def settings_or_exit(env_file: Path | None, chosen: Mapping[str, str] | None = None) -> Settings:
    """Return the settings; `chosen` on the command line wins over the environment. Exits 1 with a line per problem."""
    try:
        return load_settings(env_file, {**os.environ, **(chosen or {})})
    except SettingsError as error:
        for problem in error.extras["problems"]:
            typer.echo(f"settings: {problem}", err=True)
        raise typer.Exit(1) from error
