"""When a worker believes that it still has a job."""

import asyncio

import pytest

from common.errors import DatabaseUnavailable, LeaseLost
from common.settings import WorkerSettings
from tests.unit.worker.stand_ins import Clock, FakeDatabase
from worker.lease import Hold, Leases

SETTINGS = WorkerSettings.model_validate({"lease_seconds": 15, "heartbeat_seconds": 0.01})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase()


@pytest.fixture
def leases(database: FakeDatabase, clock: Clock) -> Leases:
    return Leases(database.as_database(), SETTINGS, clock=clock)


async def working(leases: Leases, job_id: str = "a") -> Hold:
    (hold,) = await leases.claim([job_id])
    hold.work = asyncio.create_task(asyncio.Event().wait())
    return hold


async def is_stopped(hold: Hold) -> bool:
    assert hold.work is not None
    await asyncio.sleep(0)
    stopped = hold.work.cancelled()
    hold.work.cancel()
    await asyncio.wait([hold.work])
    return stopped


def test_an_owner_fits_its_column_and_is_never_the_same(leases: Leases, database: FakeDatabase) -> None:
    other = Leases(database.as_database(), SETTINGS)
    assert len(leases.owner) <= 64
    assert leases.owner != other.owner


async def test_a_renewed_lease_goes_on(leases: Leases, clock: Clock) -> None:
    hold = await working(leases)
    clock.now += 14
    await leases.beat()
    clock.now += 14
    assert leases.alive(hold)
    assert not await is_stopped(hold)


async def test_all_leases_are_renewed_in_one_statement(leases: Leases, database: FakeDatabase) -> None:
    holds = [await working(leases, name) for name in "abc"]
    before = database.transactions
    await leases.beat()
    assert database.transactions == before + 1
    assert [await is_stopped(hold) for hold in holds] == [False, False, False]


async def test_a_worker_without_jobs_asks_nothing(leases: Leases, database: FakeDatabase) -> None:
    assert await leases.beat()
    assert database.transactions == 0


async def test_a_lease_that_somebody_took_stops_its_job_and_no_other(leases: Leases, database: FakeDatabase) -> None:
    mine, other = await working(leases, "a"), await working(leases, "b")
    database.kept.discard("a")
    await leases.beat()
    assert (mine.lost, other.lost) == (True, False)
    assert await is_stopped(mine)
    assert not await is_stopped(other)


async def test_a_database_that_is_away_is_waited_for_as_long_as_the_lease(
    leases: Leases, database: FakeDatabase, clock: Clock
) -> None:
    hold = await working(leases)
    database.away = True
    clock.now += 14.9
    assert not await leases.beat()
    lost_early = hold.lost
    clock.now += 0.2
    await leases.beat()
    assert (lost_early, hold.lost) == (False, True)
    assert await is_stopped(hold)


async def test_the_heartbeat_survives_whatever_its_database_raises(leases: Leases, database: FakeDatabase) -> None:
    hold = await working(leases)
    database.broken = ZeroDivisionError("a bug")
    keeping = asyncio.create_task(leases.keep())
    asked = database.transactions
    while database.transactions < asked + 2:
        assert not keeping.done()
        await asyncio.sleep(0)
    database.broken = None
    renewed = hold.renewed_at = 0.0
    while hold.renewed_at == renewed:
        assert not keeping.done()
        await asyncio.sleep(0)
    keeping.cancel()
    assert not await is_stopped(hold)


async def test_the_lease_counts_from_before_the_statement(leases: Leases, clock: Clock) -> None:
    hold = await working(leases)
    clock.now += 15
    assert not leases.alive(hold)
    assert not await is_stopped(hold)


async def test_a_job_in_its_last_transaction_is_judged_by_the_fence_alone(
    leases: Leases, database: FakeDatabase
) -> None:
    hold = await working(leases)
    hold.settling = True
    database.kept.clear()  # its own commit did that
    await leases.beat()
    assert not hold.lost
    assert not await is_stopped(hold)


async def test_a_released_lease_is_not_renewed(leases: Leases, database: FakeDatabase) -> None:
    hold = await working(leases)
    leases.release(hold)
    before = database.transactions
    await leases.beat()
    assert database.transactions == before
    assert not await is_stopped(hold)


async def test_the_last_transaction_is_repeated_until_the_database_takes_it(
    leases: Leases, database: FakeDatabase
) -> None:
    hold = await working(leases)
    database.away = True

    async def write(repository: object) -> str:
        del repository
        return "written"

    settling = asyncio.create_task(leases.settle(hold, write))
    await asyncio.sleep(0.03)
    assert not settling.done()
    database.away = False
    assert await settling == "written"
    assert not await is_stopped(hold)


async def test_the_last_transaction_is_given_up_with_the_lease(
    leases: Leases, database: FakeDatabase, clock: Clock
) -> None:
    hold = await working(leases)
    database.away = True
    clock.now += 16

    async def write(repository: object) -> None:
        del repository

    with pytest.raises(LeaseLost):
        await leases.settle(hold, write)
    assert not await is_stopped(hold)


async def test_a_claim_says_that_the_database_is_away(leases: Leases, database: FakeDatabase) -> None:
    database.away = True
    with pytest.raises(DatabaseUnavailable):
        await leases.claim(["a"])
