"""`sluice fsck`: compare what the storage holds with what the database knows; `--repair` puts it right."""

import asyncio
from typing import Annotated

import typer

from cli.output import complain, print_json
from cli.processes import EnvFile, settings_or_exit
from common.db.database import Database
from common.fsck import Finding, Fsck
from common.settings import Settings
from common.storage import open_storage
from common.storage.base import Identifies

STRANGERS = (
    "nothing of what the storage holds is known to the database, so nothing was changed: are SLUICE_STORAGE_URL and "
    "SLUICE_DATABASE_URL those of one service? --force repairs all the same"
)


def fsck(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what is found; without it only look.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Repair also if the two share nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per finding.")] = False,
    env_file: EnvFile = None,
) -> None:
    """Compare the storage with the database, while the service runs or not.

    Exit status 0: nothing is wrong, or all of it was repaired; 1: something is wrong, or could not be looked at.
    """
    settings = settings_or_exit(env_file)
    found, repaired = asyncio.run(_check(settings, repair=repair, force=force))
    for finding in found:
        _print(finding, json=json, repaired=repaired)
    if not json:
        ending = ", repaired" if repaired else "; nothing was changed, see --repair" if not repair else ""
        typer.echo(f"{len(found)} {'finding' if len(found) == 1 else 'findings'}{ending if found else ''}")
    if found and repair and not repaired:
        complain(STRANGERS)
    raise typer.Exit(1 if found and not repaired else 0)


async def _check(settings: Settings, *, repair: bool, force: bool) -> tuple[list[Finding], bool]:
    """What was found, and whether it was repaired."""
    database = Database(settings.database, "sluice-fsck")
    storage = open_storage(settings.storage)
    try:
        await _expect(storage, database)
        checker = Fsck(database, storage)
        found = [finding async for finding in checker.findings()]
        repaired = repair and bool(force or checker.agreed)
        if repaired:
            for finding in found:
                await checker.repair(finding)
        return found, repaired
    finally:
        await storage.close()
        await database.close()


async def _expect(storage: Identifies, database: Database) -> None:
    """Refuse a storage that is not the one this database knows; unlike a start of the service, mark nothing."""
    async with database.reading() as repository:
        known = await repository.storages.known()
    if known is not None:
        storage.expect(known)


def _print(finding: Finding, *, json: bool, repaired: bool) -> None:
    if json:
        row = {"problem": finding.problem, "tenant": finding.tenant, "id": finding.subject, "repaired": repaired}
        print_json(row)
    else:
        typer.echo(f"{finding.problem}  {finding.tenant}  {finding.subject}")
