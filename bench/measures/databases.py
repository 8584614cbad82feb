"""Databases to measure with: a PostgreSQL of our own, and a million rows put there by SQL, not one by one."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import asyncpg
import pytest

from bench.rivals.install import Missing
from bench.setting import ROOT
from tests.fixtures.postgres import prepared_cluster
from tests.fixtures.servers import running

APART = 0.05  # seconds between two files: a million of them is half a day, within every period of the sweep
FILES = """
INSERT INTO files (id, tenant, upload_id, state, filename, size, content_type, detected_type, digests, verified,
                   metadata, tags, attributes, created_at, scrubbed_at)
SELECT {id}, 'default', {upload}, 'ready', 'report-' || (i % 20) || '.csv', 1048576, 'text/csv', 'text/csv',
       '{{"sha-256": "00"}}', 'read', '{{}}', {tags}, '{{}}', {time}, {time} FROM {numbers}
"""
JOBS = """
INSERT INTO jobs (id, tenant, kind, state, upload_id, file_id, round, size, attempts, epoch, fence, next_attempt_at,
                  rung_at, created_at, started_at, finished_at)
SELECT {job}, 'default', 'finalize', 'succeeded', {upload}, {id}, 0, 1048576, 1, 1, 1, {time}, {time}, {time}, {time},
       {time} FROM {numbers}
"""
TAGS = """
INSERT INTO file_tags (file_id, key, value, tenant, created_at)
SELECT {id}, 'kind', 'report', 'default', {time} FROM {numbers} WHERE i % 10 = 0
"""
SOME_TAGS = "CASE WHEN i % 10 = 0 THEN '{\"kind\": \"report\"}' ELSE '{}' END"


@contextmanager
def postgres_url() -> Iterator[str]:
    """An empty database of a cluster that is removed at the end, without fsync. Raises Missing where there is none."""
    try:
        with prepared_cluster("fsync=off", "full_page_writes=off", "shared_buffers=256MB") as prepared:
            cluster = prepared.cluster
            with running(prepared.command, prepared.log, cluster.is_ready, signal.SIGINT, prepared.user):
                cluster.execute("CREATE DATABASE bench")
                yield cluster.url("bench")
    except pytest.skip.Exception as reason:
        raise Missing(str(reason)) from reason


def migrate(url: str) -> None:
    """The newest schema."""
    env = {**os.environ, "SLUICE_DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "cli.main", "migrate"], env=env, check=True, capture_output=True)


def job_id(number: int) -> str:
    """The id of the job of that number, counted from 1."""
    return f"01900000-0000-7000-9000-{number:012x}"


def fill(url: str, count: int) -> None:
    """So many files with their finished jobs; one in ten has a tag."""
    if url.startswith("sqlite:///"):
        _fill_sqlite(Path(url.removeprefix("sqlite:///")), count)
    else:
        _fill_postgres(url, count)


def _fill_sqlite(path: Path, count: int) -> None:
    ids = {name: f"printf('01900000-0000-7000-{part}000-%012x', i)" for name, part in PARTS.items()}
    time = f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '-' || (({count} - i) * {APART}) || ' seconds')"
    numbers = f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n)"
    with closing(sqlite3.connect(path)) as database, database:
        for statement in (FILES, JOBS, TAGS):
            database.execute(statement.format(**ids, time=time, numbers=numbers, tags=SOME_TAGS))


def _fill_postgres(url: str, count: int) -> None:
    ids = {name: f"'01900000-0000-7000-{part}000-' || lpad(to_hex(i), 12, '0')" for name, part in PARTS.items()}
    time = f"now() - ({count} - i) * interval '{APART} s'"
    numbers = f"generate_series(1, {count}) AS s(i)"
    tags = f"({SOME_TAGS})::jsonb"
    filling = [text.format(**ids, time=time, numbers=numbers, tags=tags) for text in (FILES, JOBS, TAGS)]
    asyncio.run(_execute(url, [*filling, "VACUUM ANALYZE"]))  # the latter autovacuum does in its own time


PARTS = {"id": "8", "job": "9", "upload": "a"}  # ids of files, jobs and uploads differ in one digit


async def _execute(url: str, statements: list[str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement, timeout=900)
    finally:
        await connection.close()
