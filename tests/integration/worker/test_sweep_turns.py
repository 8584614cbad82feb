"""Any number of workers, one sweep: what ten of them ask of the database is little more than what one asks."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from common.db.database import Database
from common.states import JobState, UploadState
from common.storage.base import UploadKey
from common.tasks import cancelled
from tests.integration.worker.rig import Rig, until
from tests.integration.worker.test_fsck import set_upload
from tests.integration.worker.test_sweep import lost_job
from worker.sweep import Sweep

WORKERS = 10


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that are made meanwhile."""
    statements: list[str] = []

    def heard(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", heard)
    yield statements
    event.remove(database.engine.sync_engine, "before_cursor_execute", heard)


async def test_ten_workers_that_come_at_once_make_one_pass(rig: Rig) -> None:
    sweeps = [Sweep(rig.context) for _ in range(WORKERS)]
    turns = await asyncio.gather(*(sweep.my_turn() for sweep in sweeps))
    assert turns.count(True) == 1


async def test_who_has_no_turn_asks_once_and_measures_once(rig: Rig) -> None:
    await rig.upload(b"x")  # so that there is a storage
    assert await rig.parts.sweep.my_turn()
    other = Sweep(rig.context)
    with counted(rig.database) as statements:
        assert not await other.my_turn()
        await other.measure()
    assert len(statements) == 2


async def test_a_sweep_goes_on_by_itself_and_finds_what_is_lost(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sweep.SHORTEST_REST", 0.001)
    job = await lost_job(rig)
    sweeping = [asyncio.create_task(Sweep(rig.context).run()) for _ in range(2)]
    sweeping[0].cancel()  # the death of one worker keeps nobody

    async def is_back() -> bool:
        return (await rig.job(job.id)).state == JobState.QUEUED

    await until(is_back)
    await cancelled(sweeping, 10)


async def test_a_storage_that_hangs_while_it_removes_holds_up_no_job_of_a_dead_worker(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sweep.SHORTEST_REST", 0.001)
    hangs = asyncio.Event()

    async def hang(_: UploadKey) -> None:
        hangs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(rig.storage, "abort", hang)
    await set_upload(rig, await rig.upload(b"x"), state=UploadState.ABORTED)
    sweeping = asyncio.create_task(rig.parts.sweep.run())
    await asyncio.wait_for(hangs.wait(), 10)
    job = await lost_job(rig)

    async def is_back() -> bool:
        return (await rig.job(job.id)).state == JobState.QUEUED

    await until(is_back)
    await cancelled([sweeping], 10)


async def test_a_pass_that_found_a_whole_batch_is_followed_by_another_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sweep.AT_ONCE", 2)
    aborted = [await rig.upload(b"x") for _ in range(3)]
    for upload in aborted:
        await set_upload(rig, upload, state=UploadState.ABORTED)
    assert await rig.parts.sweep.once()
    assert not await rig.parts.sweep.once()
    assert all([(await rig.get_upload(upload.id)).cleaned for upload in aborted])
