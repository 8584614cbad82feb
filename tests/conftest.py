"""What every test may ask for: real servers, a free port, and the guards that hold for the whole session.

The fixtures live in `tests/fixtures/`, one module each:

- `redis`: `redis_server` (URL of one Redis for the session), `redis_url` (the same, emptied for this test)
- `postgres`: `postgres_server` (one cluster for the session), `postgres_url` (a database of this test's own)
- `database`: `database_url` (a migrated database of this test's own, once on SQLite and once on PostgreSQL)
- `network`: `free_port`
- `s3`: `s3_settings` (a place in an S3 store), `moto_server`, `versitygw_server`
- `stack`: `start_stack` (the whole service by `sluice up`)
- `topology`: `behind_nginx` (what docker-compose.yml runs, process by process; skipped where there is no nginx)
- `traces`: `spans` (a tracer that keeps its spans), collectors for exported ones
- `guards`: no settings from outside, no process left behind (both act by themselves)
- `sparing`, `order`: what keeps the run short (by themselves, too)

Hypothesis has no deadlines here: a busy machine is no bug. At home it looks for new examples every time; where `CI` is
in the environment it takes the same ones as ever, so that chance decides about no change.
"""

import os

from hypothesis import settings

settings.register_profile("any speed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("any speed")

pytest_plugins = [
    "tests.fixtures.clients",
    "tests.fixtures.faults",
    "tests.fixtures.guards",
    "tests.fixtures.network",
    "tests.fixtures.order",
    "tests.fixtures.postgres",
    "tests.fixtures.redis",
    "tests.fixtures.sparing",
    "tests.fixtures.s3",
    "tests.fixtures.stack",
    "tests.fixtures.topology",
    "tests.fixtures.traces",
    "tests.fixtures.database",  # after the servers it builds on: pytest rewrites asserts at the first import
]
