"""Does the storage belong to the database? An empty folder under an unmounted volume does not."""

from __future__ import annotations

import asyncio

from cli.doctor.examination import UNKNOWN, Case, Unknown
from cli.doctor.report import Report

PART = 0.9  # of the time that every group has
CHECK = "storage.identity"
WHICH = "compare SLUICE_DATABASE_URL and SLUICE_STORAGE_URL with those of the other processes"


async def check(case: Case, report: Report) -> None:
    await asyncio.wait({case.known, case.borne}, timeout=PART * case.seconds)  # what hangs has lines of its own
    known, borne = (found.result() if found.done() else UNKNOWN for found in (case.known, case.borne))
    if isinstance(known, Unknown) or isinstance(borne, Unknown):
        report.warn(CHECK, "could not be compared", "see the lines of the database and of the storage first")
    elif known is None and borne is None:
        report.ok(CHECK, "neither knows the other yet; the first start makes them known")
    elif known is None:
        report.warn(CHECK, "the storage bears a mark that this database does not know", f"{WHICH}: a new database?")
    elif borne is None:
        report.fail(CHECK, "the database knows a storage, and this one bears no mark", f"mount the volume; or {WHICH}")
    elif known != borne:
        report.fail(CHECK, "this is not the storage that the database knows", WHICH)
    else:
        report.ok(CHECK, "the database knows this storage")
