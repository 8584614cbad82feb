"""When a batch of results is written, and what each of its jobs is told."""

import asyncio

import pytest

from common.errors import DatabaseUnavailable, LeaseLost
from common.telemetry import Metrics
from tests.unit.worker.stand_ins import FakeDatabase, hold
from worker.batch import ResultBatch

LONG = 60.0  # seconds; longer than any test


@pytest.fixture
def database() -> FakeDatabase:
    database = FakeDatabase()
    database.kept = {"a", "b", "c"}
    return database


def batch_of(database: FakeDatabase, size: int, seconds: float = LONG) -> ResultBatch:
    return ResultBatch(database.as_database(), Metrics(), size=size, seconds=seconds)


async def test_a_full_batch_is_one_transaction(database: FakeDatabase) -> None:
    batch = batch_of(database, 3)
    await asyncio.gather(*(batch.submit(hold(name), f"file-{name}", {"n": name}) for name in "abc"))
    assert database.transactions == 1
    assert database.written == {"file-a": {"n": "a"}, "file-b": {"n": "b"}, "file-c": {"n": "c"}}


async def test_a_batch_that_does_not_fill_is_written_when_its_time_is_over(database: FakeDatabase) -> None:
    await asyncio.wait_for(batch_of(database, 3, 0.01).submit(hold("a"), "file-a", {}), 5)
    assert database.written == {"file-a": {}}


async def test_nobody_is_told_before_the_commit(database: FakeDatabase) -> None:
    batch = batch_of(database, 2)
    first = asyncio.create_task(batch.submit(hold("a"), "file-a", {}))
    await asyncio.sleep(0.01)
    assert (first.done(), database.transactions) == (False, 0)
    await batch.submit(hold("b"), "file-b", {})
    await first


async def test_a_lost_lease_costs_only_its_own_result(database: FakeDatabase) -> None:
    database.kept = {"a"}
    batch = batch_of(database, 2)
    outcomes = await asyncio.gather(
        *(batch.submit(hold(name), f"file-{name}", {}) for name in "ab"), return_exceptions=True
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], LeaseLost)
    assert database.written == {"file-a": {}}


async def test_every_job_of_a_failed_transaction_gets_the_error(database: FakeDatabase) -> None:
    database.away = True
    batch = batch_of(database, 2)
    outcomes = await asyncio.gather(
        *(batch.submit(hold(name), f"file-{name}", {}) for name in "ab"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable, DatabaseUnavailable]


async def test_the_batch_after_a_failed_one_is_written(database: FakeDatabase) -> None:
    database.broken = ValueError("once")
    batch = batch_of(database, 1)
    with pytest.raises(ValueError, match="once"):
        await batch.submit(hold("a"), "file-a", {})
    database.broken = None
    await batch.submit(hold("a"), "file-a", {})
    assert database.written == {"file-a": {}}


async def test_a_file_that_is_gone_ends_its_job_without_attributes(database: FakeDatabase) -> None:
    await batch_of(database, 1).submit(hold("a"), "file-a", None)
    assert (database.transactions, database.written) == (1, {})


async def test_a_cancelled_job_takes_its_result_out(database: FakeDatabase) -> None:
    batch = batch_of(database, 3)
    cancelled = asyncio.create_task(batch.submit(hold("a"), "file-a", {}))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    other = asyncio.create_task(batch.submit(hold("b"), "file-b", {}))
    await asyncio.sleep(0)
    await batch.close()
    await other
    assert database.written == {"file-b": {}}


async def test_closing_writes_what_waits(database: FakeDatabase) -> None:
    batch = batch_of(database, 3)
    waiting = asyncio.create_task(batch.submit(hold("a"), "file-a", {}))
    await asyncio.sleep(0)
    await batch.close()
    await waiting
    assert database.written == {"file-a": {}}
