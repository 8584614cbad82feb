"""SQLite: the file, its place and the library."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from cli.doctor.examination import UNKNOWN, Case, learn
from cli.doctor.mounts import NETWORK, mount_of
from cli.doctor.report import Report
from common.db.address import parse_database_url

OLDEST = (3, 35)  # RETURNING


def look_at_the_file(case: Case, report: Report) -> bool:
    """Whether there is one to open: opening would make it."""
    path = Path(parse_database_url(case.settings.database.database_url).database or "")
    if not path.exists():
        do = "run `sluice migrate` or `sluice up`, or put SLUICE_DATABASE_URL right"
        report.fail("database.reachable", f"{path} is not there", do)
        learn(case.known, UNKNOWN)
        return False
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        report.fail(
            "database.reachable", f"{path} or its folder is not writable", "give them to the user of the service"
        )
        learn(case.known, UNKNOWN)
        return False
    mount = mount_of(path)
    if mount is not None and mount.kind in NETWORK:
        report.fail("database.place", f"{path} is on {mount.kind}", "put it on a local disk: WAL needs shared memory")
    return True


async def check(case: Case, report: Report, connection: AsyncConnection, where: str) -> None:
    del case
    mode = await connection.scalar(text("PRAGMA journal_mode"))
    report.ok("database.reachable", f"{where}, journal mode {mode}")
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < OLDEST:
        report.fail("database.version", f"SQLite {found}", "run a Python with SQLite 3.35 or newer")
    else:
        report.ok("database.version", f"SQLite {found}; for processes of one machine")
