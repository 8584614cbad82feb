"""The command `sluice doctor`."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from cli.doctor import bucket, database, identity, machine, redis, volume
from cli.doctor.examination import Case, Group, examine
from cli.doctor.report import Finding, Verdict
from cli.output import plain, print_json
from cli.processes import EnvFile
from common.bucket import SCHEME
from common.errors import SettingsError
from common.settings import LogSettings, Settings, load_settings
from common.telemetry import configure_logging


def doctor(
    gateways: Annotated[
        int | None, typer.Option(min=0, help="Most gateways at once, for the connection budget.", show_default="seen")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Most workers at once.", show_default="seen")] = None,
    host: Annotated[str, typer.Option(help="Where `sluice up` would listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port.")] = 8000,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    env_file: EnvFile = None,
) -> None:
    """Look at everything that the service needs; one line each, with what to do.

    Exit status 0: nothing is wrong (there may be warnings); 1: something is.
    """
    configure_logging(LogSettings.model_validate({"log_level": "error"}))
    try:
        settings = load_settings(env_file, os.environ)
    except SettingsError as error:
        findings = [
            Finding("settings", Verdict.FAIL, problem, "see docs/settings.md") for problem in error.extras["problems"]
        ]
    else:
        findings = [Finding("settings", Verdict.OK, "all are known and in range")]
        findings += asyncio.run(_examine(settings, gateways, workers, host, port))
    for finding in findings:
        if json:
            print_json(finding.as_row())
        else:
            typer.echo(plain(finding.as_line()))
    raise typer.Exit(any(finding.verdict == Verdict.FAIL for finding in findings))


def groups_for(settings: Settings) -> dict[str, Group]:
    """The groups of checks for a service with these settings."""
    on_s3 = settings.storage.storage_url.startswith(SCHEME)
    return {
        "machine": machine.check,
        "database": database.check,
        "redis": redis.check,
        "storage": bucket.check if on_s3 else volume.check,
        "storage.identity": identity.check,
    }


async def _examine(
    settings: Settings, gateways: int | None, workers: int | None, host: str, port: int
) -> list[Finding]:
    case = Case(settings, gateways, workers, host, port)
    return await examine(case, groups_for(settings))
