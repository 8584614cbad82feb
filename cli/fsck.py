"""`sluice fsck`: compare what the storage holds with what the database knows; `--repair` puts it right."""

import asyncio
import json as json_format
from typing import Annotated

import typer

from cli.parts import EnvFile, settings_or_exit
from common.db.database import Database
from common.errors import SluiceError
from common.fsck import Fsck
from common.settings import Settings
from common.storage import open_storage


def fsck(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what is found; without it only look.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per finding.")] = False,
    env_file: EnvFile = None,
) -> None:
    """Compare the storage with the database, while the service runs or not.

    Exit status 0: nothing is wrong, or all of it was repaired; 1: something is wrong.
    """
    settings = settings_or_exit(env_file)
    try:
        found = asyncio.run(_check(settings, repair=repair, json=json))
    except SluiceError as error:
        typer.echo(f"fsck: {error.detail}", err=True)
        raise typer.Exit(1) from error
    what = "finding" if found == 1 else "findings"
    if not json:
        ending = ", repaired" if repair and found else "; nothing was changed, see --repair" if found else ""
        typer.echo(f"{found} {what}{ending}")
    raise typer.Exit(1 if found and not repair else 0)


async def _check(settings: Settings, *, repair: bool, json: bool) -> int:
    database = Database(settings.database, "sluice-fsck")
    storage = open_storage(settings.storage)
    found = 0
    try:
        checker = Fsck(database, storage, settings.limits.upload_ttl)
        async for finding in checker.findings():
            found += 1
            if repair:
                await checker.repair(finding)
            row = {"problem": finding.problem, "tenant": finding.tenant, "id": finding.subject, "repaired": repair}
            typer.echo(json_format.dumps(row) if json else f"{finding.problem}  {finding.tenant}  {finding.subject}")
    finally:
        await storage.close()
        await database.close()
    return found
