"""One worker of all makes the next pass, and no worker's death keeps it from being made."""

import asyncio

from sqlalchemy import delete, update

from common.db.clock import db_now
from common.db.database import Database
from common.db.models import Pass


async def take(database: Database, taken_by: str, seconds: float = 60) -> bool:
    async with database.transaction() as repository:
        return await repository.passes.take("sweep", taken_by, seconds)


async def test_of_many_workers_at_once_one_makes_the_pass(database: Database) -> None:
    taken = await asyncio.gather(*(take(database, f"worker-{number}") for number in range(10)))
    assert taken.count(True) == 1


async def test_the_next_pass_is_made_when_it_is_due_whoever_took_the_last_one(database: Database) -> None:
    assert await take(database, "dies in the middle of it")
    assert not await take(database, "another")
    async with database.transaction() as repository:
        await repository.session.execute(update(Pass).values(due_at=db_now(-1)))
    assert await take(database, "another")


async def test_a_row_that_somebody_removed_is_made_again(database: Database) -> None:
    assert await take(database, "one")
    async with database.transaction() as repository:
        await repository.session.execute(delete(Pass))
    assert await take(database, "one")


async def test_passes_of_other_names_are_others(database: Database) -> None:
    assert await take(database, "one")
    async with database.transaction() as repository:
        assert await repository.passes.take("other", "one", 60)
