"""What is asked all the time costs the same however many rows have ended: no statement walks through a table."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, select

from common.db.database import Database
from common.db.files import FileFilter
from common.db.jobs import Lease
from common.db.models import File
from common.db.repository import Repository
from common.db.uploads import Said, Start
from common.states import JobKind, JobState
from tests.integration.postgres.crowd import OPEN, ROWS, TENANT, WAITING, row_id

MOST_BLOCKS = 1000  # of 8 KiB, read to find the rows; each table has some 4,000
WEEK, MONTH = 7 * 86400.0, 30 * 86400.0
Ask = Callable[[Repository], Awaitable[object]]

running = [row_id(ROWS - WAITING - number) for number in range(50)]
waiting = [row_id(ROWS - number) for number in range(500)]
finalizing = [row_id(ROWS - OPEN - number) for number in range(100)]
old = [row_id(number) for number in range(1, 501)]


def start(number: int) -> Start:
    """The finalize of an open upload."""
    return Start(TENANT, row_id(ROWS - number), row_id(number + 1), row_id(number + 1), Said(1, None, {}, {}, {}))


HOT: dict[str, Ask] = {
    "claim": lambda db: db.jobs.claim(waiting[:100], "me", 15),
    "finalize many": lambda db: db.uploads.start_all([start(number) for number in range(100)], wait=False),
    "publish many": lambda db: db.uploads.complete_all([(TENANT, row) for row in finalizing], wait=False),
    "look many uploads up": lambda db: db.uploads.get_all([(TENANT, row) for row in old[:100]]),
    "look many jobs up": lambda db: db.jobs.get_all([(TENANT, row) for row in old[:100]]),
    "look many files up": lambda db: db.files.get_all([(TENANT, row) for row in old[:100]]),
    "heartbeat": lambda db: db.jobs.renew("worker-1", running, 15),
    "end a job": lambda db: db.jobs.succeed(Lease(running[0], "worker-1", 1)),
    "end many jobs": lambda db: db.jobs.succeed_all([Lease(job, "worker-1", 1) for job in running]),
    "poll a job": lambda db: db.jobs.get(TENANT, old[0]),
    "poll many jobs": lambda db: db.jobs.final_states(old),
    "list jobs": lambda db: db.jobs.page(TENANT, None, 100, state=None, kind=None),
    "list failed jobs": lambda db: db.jobs.page(TENANT, None, 100, state=JobState.FAILED, kind=None),
    "list files": lambda db: db.files.page(TENANT, FileFilter(), None, 100),
    "list files by name": lambda db: db.files.page(TENANT, FileFilter(filename="name-7"), None, 100),
    "list files by type": lambda db: db.files.page(TENANT, FileFilter(content_type="text/csv"), None, 100),
    "list files by tag": lambda db: db.files.page(TENANT, FileFilter(tag=("project", "p-7")), None, 100),
    "list files by key": lambda db: db.files.page(TENANT, FileFilter(tag=("project", None)), None, 100),
    "take the turn": lambda db: db.passes.take("sweep", "me", 2.5),
    "sweep lost leases": lambda db: db.jobs.take_back_lost(3, 100),
    "sweep silent jobs": lambda db: db.jobs.unheard(JobKind.FINALIZE, 5, 500),
    "sweep lost bells": lambda db: db.jobs.ring_again(waiting, 5),
    "sweep hanging bells": lambda db: db.jobs.still_hangs(waiting),
    "sweep expired": lambda db: db.uploads.due_to_expire(100),
    "a part has arrived": lambda db: db.parts.waiting_for(TENANT, old[10]),
    "count those that wait": lambda db: db.parts.most_waiting(TENANT, old[:10]),
    "parts of a final upload": lambda db: db.parts.of(TENANT, old[10]),
    "sweep final uploads": lambda db: db.parts.waiting_finals(None, 100, 60),
    "sweep expired finals": lambda db: db.parts.waiting_for_any(old[:50]),
    "sweep uncleaned": lambda db: db.uploads.uncleaned(100),
    "sweep deleted": lambda db: db.files.deleting(100),
    "sweep dead letters": lambda db: db.uploads.give_up_dead_letters(WEEK, 1000),
    "purge uploads": lambda db: db.uploads.purge(WEEK, 1000),
    "purge jobs": lambda db: db.jobs.purge(WEEK, 1000),
    "measure": lambda db: db.jobs.oldest_queued(),
    "scrub": lambda db: db.files.start_scrub(MONTH),
    "fsck sealed": lambda db: db.uploads.sealing_to(old),
    "fsck stuck": lambda db: db.uploads.without_job("", 100),
}


async def plans_of(database: Database, ask: Ask) -> list[dict[str, Any]]:
    """The plans, as they ran, of every statement that `ask` makes. Nothing is kept of it."""
    statements: list[tuple[str, Any]] = []

    def heard(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        statements.append((statement, parameters[0] if many else parameters))

    async with database.transaction() as repository:
        event.listen(database.engine.sync_engine, "before_cursor_execute", heard)
        await ask(repository)
        event.remove(database.engine.sync_engine, "before_cursor_execute", heard)
        await repository.session.rollback()
    plans = []
    for statement, parameters in statements:
        async with database.engine.connect() as connection:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            told = (await connection.exec_driver_sql(explain, parameters)).scalar_one()
            plans.append((json.loads(told) if isinstance(told, str) else told)[0]["Plan"])
    return plans


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def blocks(plan: dict[str, Any]) -> int:
    """Read to find the rows; what changing them costs is another matter."""
    if plan["Node Type"] == "ModifyTable":
        return sum(map(blocks, plan.get("Plans", ())))
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("what", HOT)
async def test_no_table_is_walked_through(crowded: Database, what: str) -> None:
    plans = await plans_of(crowded, HOT[what])
    assert plans
    for plan in plans:
        walked = [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"]
        assert walked in ([], ["passes"])  # that one has a row or none
        assert blocks(plan) <= MOST_BLOCKS


async def test_a_walk_would_be_seen(crowded: Database) -> None:
    """The negative control: a question that no index answers."""

    async def by_size(repository: Repository) -> None:
        await repository.session.execute(select(File).where(File.size == 7))

    [plan] = await plans_of(crowded, by_size)
    assert blocks(plan) > MOST_BLOCKS
    assert any(node["Node Type"] == "Seq Scan" for node in nodes(plan))
