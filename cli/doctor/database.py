"""The database, whichever it is."""

from __future__ import annotations

import ssl

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from cli.doctor import postgres, sqlite
from cli.doctor.examination import UNKNOWN, Case, learn
from cli.doctor.report import Report
from common.db.address import parse_database_url
from common.db.database import Database
from common.db.models import StorageIdentity
from common.db.schema import head_revision, read_schema
from common.db.storages import ONLY
from common.names import address_of

MIGRATE = "run `sluice migrate`"
_ADVICE = {
    "28P01": "look at user and password in SLUICE_DATABASE_URL",
    "28000": "pg_hba.conf does not let this user in from here; sslmode=require where it wants TLS",
    "3D000": "create the database, or put SLUICE_DATABASE_URL right",
    "53300": "raise max_connections, or lower the pools (docs/operations.md, PostgreSQL)",
    "08P01": "for a PgBouncer in transaction mode set SLUICE_DATABASE_POOLER=transaction",
}  # by SQLSTATE


async def check(case: Case, report: Report) -> None:
    try:
        if parse_database_url(case.settings.database.database_url).get_backend_name() == "sqlite":
            if not sqlite.look_at_the_file(case, report):
                return
            await _connected(case, report, sqlite.check)
        else:
            await _connected(case, report, postgres.check)
    finally:
        learn(case.known, UNKNOWN)


async def _connected(case: Case, report: Report, check_all: postgres.Checks) -> None:
    where = address_of(case.settings.database.database_url)
    database = Database(case.settings.database, "sluice-doctor", pool_size=1)
    try:
        async with database.engine.connect() as connection:
            await check_all(case, report, connection, where)
            if await _schema(report, connection):
                mark = select(StorageIdentity.storage_id).where(StorageIdentity.name == ONLY)
                learn(case.known, await connection.scalar(mark))
    except (DBAPIError, OSError, TimeoutError) as error:
        report.fail("database.reachable", f"{where}: {_cause(report, error)}", _advice(error))
    finally:
        await database.close()


async def _schema(report: Report, connection: AsyncConnection) -> bool:
    """Whether it serves this version."""
    schema = await connection.run_sync(read_schema)
    trouble = schema.trouble_for(head_revision())
    if trouble:
        what, _, do = trouble.partition(": ")
        report.fail("database.schema", what, do or MIGRATE)
    else:
        report.ok("database.schema", f"at {schema.revision}, this version needs {head_revision()}")
    return not trouble


def _cause(report: Report, error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return report.words_of(error.orig if isinstance(error, DBAPIError) and error.orig is not None else error)


def _advice(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "look at the host name, sslmode and sslrootcert in SLUICE_DATABASE_URL, and at the server's certificate"
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    return _ADVICE.get(state, "is it running, and is SLUICE_DATABASE_URL right?")
