"""Which results share a transaction, and what each of their jobs is told."""

import asyncio

import pytest

from common.errors import DatabaseUnavailable, LeaseLost
from common.telemetry import Metrics
from tests.unit.worker.stand_ins import FakeDatabase, hold
from worker.batch import ResultBatch


@pytest.fixture
def database() -> FakeDatabase:
    database = FakeDatabase()
    database.kept = {"a", "b", "c"}
    return database


@pytest.fixture
def batch(database: FakeDatabase) -> ResultBatch:
    return ResultBatch(database.as_database(), Metrics())


async def test_results_of_one_moment_are_one_transaction(database: FakeDatabase, batch: ResultBatch) -> None:
    await asyncio.gather(*(batch.submit(hold(name), f"file-{name}", {"n": name}) for name in "abc"))
    assert database.transactions == 1
    assert database.written == {"file-a": {"n": "a"}, "file-b": {"n": "b"}, "file-c": {"n": "c"}}


async def test_results_that_come_while_one_is_written_share_the_next(
    database: FakeDatabase, batch: ResultBatch
) -> None:
    database.gate = asyncio.Event()
    first = asyncio.create_task(batch.submit(hold("a"), "file-a", {}))
    await database.entered.wait()
    others = [asyncio.create_task(batch.submit(hold(name), f"file-{name}", {})) for name in "bc"]
    await asyncio.sleep(0)
    assert not first.done()  # nobody is told before the commit
    database.gate.set()
    await asyncio.gather(first, *others)
    assert database.transactions == 2


async def test_a_lost_lease_costs_only_its_own_result(database: FakeDatabase, batch: ResultBatch) -> None:
    database.kept = {"a"}
    outcomes = await asyncio.gather(
        *(batch.submit(hold(name), f"file-{name}", {}) for name in "ab"), return_exceptions=True
    )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], LeaseLost)
    assert database.written == {"file-a": {}}


async def test_every_job_of_a_failed_transaction_gets_the_error(database: FakeDatabase, batch: ResultBatch) -> None:
    database.away = True
    outcomes = await asyncio.gather(
        *(batch.submit(hold(name), f"file-{name}", {}) for name in "ab"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable, DatabaseUnavailable]


async def test_the_batch_after_a_failed_one_is_written(database: FakeDatabase, batch: ResultBatch) -> None:
    database.broken = ValueError("once")
    with pytest.raises(ValueError, match="once"):
        await batch.submit(hold("a"), "file-a", {})
    database.broken = None
    await batch.submit(hold("a"), "file-a", {})
    assert database.written == {"file-a": {}}


async def test_a_file_that_is_gone_ends_its_job_without_attributes(database: FakeDatabase, batch: ResultBatch) -> None:
    await batch.submit(hold("a"), "file-a", None)
    assert (database.transactions, database.written) == (1, {})


async def test_a_cancelled_job_takes_its_result_out(database: FakeDatabase, batch: ResultBatch) -> None:
    database.gate = asyncio.Event()
    first = asyncio.create_task(batch.submit(hold("a"), "file-a", {}))
    await database.entered.wait()
    cancelled = asyncio.create_task(batch.submit(hold("b"), "file-b", {}))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    database.gate.set()
    await first
    await batch.submit(hold("c"), "file-c", {})
    assert database.written == {"file-a": {}, "file-c": {}}
