"""A database with 100,000 rows in each table, in the state in which a busy service keeps it, made in seconds by SQL."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy import text

from common.db.database import Database
from common.settings import DatabaseSettings

ROWS = 100_000
WAITING, RUNNING, DEAD = 2_000, 200, 100  # jobs
OPEN, FINALIZING = 1_000, 300  # uploads
DELETING = 50  # files
TENANT = "default"

# An id is made of the row's number, so that rows of different tables find each other.
_ID = "'01900000-0000-7000-8000-' || lpad(to_hex({}), 12, '0')"
_AGE = f"now() - (({ROWS} - n) * interval '1 second')"
_UPLOADS = f"""
INSERT INTO uploads (id, tenant, state, filename, size, chunk_size, metadata, tags, digests, file_id, job_id, round,
                     cleaned, created_at, expires_at, finished_at)
SELECT {_ID.format("n")}, '{TENANT}',
       CASE WHEN n > {ROWS - OPEN} THEN 'open'
            WHEN n > {ROWS - OPEN - FINALIZING} THEN 'finalizing' ELSE 'complete' END,
       'name-' || n % 1000, 1000, 1000, '{{}}', '{{}}', '{{}}', {_ID.format("n")}, {_ID.format("n")}, 0,
       n <= {ROWS - OPEN - FINALIZING}, {_AGE}, now() + interval '1 day',
       CASE WHEN n <= {ROWS - OPEN - FINALIZING} THEN {_AGE} END
FROM generate_series(1, {ROWS}) n"""
_JOBS = f"""
INSERT INTO jobs (id, tenant, kind, state, upload_id, file_id, round, size, attempts, epoch, fence, lease_owner,
                  lease_until, next_attempt_at, rung_at, error_code, created_at, finished_at)
SELECT {_ID.format("n")}, '{TENANT}', CASE WHEN n % 2 = 0 THEN 'finalize' ELSE 'metadata' END, s.state,
       {_ID.format("n")}, {_ID.format("n")}, 0, 1000, 1, 0, 1,
       CASE WHEN s.state = 'running' THEN 'worker-' || n % 20 END,
       CASE WHEN s.state = 'running' THEN now() + interval '1 hour' END, {_AGE}, now() + interval '1 hour',
       CASE WHEN s.state = 'failed' THEN 'attempts_exhausted' END, {_AGE},
       CASE WHEN s.state IN ('succeeded', 'failed') THEN {_AGE} END
FROM generate_series(1, {ROWS}) n, LATERAL (SELECT CASE
    WHEN n > {ROWS - WAITING} THEN 'queued' WHEN n > {ROWS - WAITING - RUNNING} THEN 'running'
    WHEN n > {ROWS - WAITING - RUNNING - DEAD} THEN 'failed' ELSE 'succeeded' END AS state) s"""
_FILES = f"""
INSERT INTO files (id, tenant, upload_id, state, filename, size, content_type, digests, verified, metadata, tags,
                   created_at, scrubbed_at)
SELECT {_ID.format("n")}, '{TENANT}', {_ID.format("n")}, CASE WHEN n <= {DELETING} THEN 'deleting' ELSE 'ready' END,
       'name-' || n % 1000, 1000, CASE WHEN n % 10 = 0 THEN 'text/csv' ELSE 'image/png' END, '{{}}', 'read', '{{}}',
       '{{}}', {_AGE}, {_AGE}
FROM generate_series(1, {ROWS}) n"""
_TAGS = f"""
INSERT INTO file_tags (file_id, key, tenant, value, created_at)
SELECT {_ID.format("n")}, 'project', '{TENANT}', 'p-' || n % 100, {_AGE} FROM generate_series(1, {ROWS}) n"""

_PARTS = f"""
INSERT INTO upload_parts (final_id, position, partial_id)
SELECT {_ID.format("n")}, position, {_ID.format("n + position")}
FROM generate_series(1, {ROWS // 10}) n, generate_series(1, 4) position"""


@dataclass(frozen=True)
class Crowd:
    """A migrated database that is full; tests roll back what they change."""

    url: str


def row_id(number: int) -> str:
    """The id of the row with this number, from 1; the higher the younger."""
    return f"01900000-0000-7000-8000-{number:012x}"


def fill(url: str) -> Crowd:
    """Fill the migrated database at `url`."""
    asyncio.run(_fill(url))
    return Crowd(url)


async def _fill(url: str) -> None:
    database = Database(DatabaseSettings.model_validate({"database_url": url, "database_timeout": 60}))
    try:
        async with database.engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("SET statement_timeout = 0"))
            for statement in (_UPLOADS, _PARTS, _JOBS, _FILES, _TAGS, "VACUUM ANALYZE"):
                await connection.execute(text(statement))
    finally:
        await database.close()
