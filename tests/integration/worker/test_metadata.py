"""Metadata: what the bytes tell reaches the file, many files in one transaction, and nothing is lost on the way."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from common.db.database import Database
from common.db.jobs import Jobs
from common.errors import DatabaseUnavailable
from common.states import FileState, JobKind, JobState
from tests.integration.worker.rig import TENANT, Rig, with_settings
from worker.batch import ResultBatch

TABLE = b"name,age\r\nada,36\r\ngrace,85\r\n"


async def test_a_table_is_described(rig: Rig) -> None:
    file = await rig.published(TABLE, filename="people.csv", content_type="text/csv")

    await rig.run()

    described = await rig.file(file.id)
    assert described.detected_type == "text/csv"
    assert described.attributes is not None
    assert described.attributes["columns"] == ["name", "age"]
    assert described.attributes["line_count"] == 3
    assert (await rig.jobs(JobKind.METADATA))[0].state == JobState.SUCCEEDED


async def test_lines_are_counted_over_the_whole_of_a_long_text(rig: Rig) -> None:
    text = b"".join(b"line %d\n" % number for number in range(200_000))  # more than head and tail
    file = await rig.published(text, chunk_size=len(text))

    await rig.run()

    described = await rig.file(file.id)
    assert described.attributes is not None
    assert (described.attributes["line_count"], described.attributes["line_ending"]) == (200_000, "lf")


async def test_many_results_are_one_transaction(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [await rig.published(TABLE) for _ in range(6)]
    jobs = await rig.jobs(JobKind.METADATA)
    writes = count_calls(monkeypatch, "succeed_all")
    arrived = asyncio.Barrier(6)
    submit = ResultBatch.submit

    async def together(self: ResultBatch, *found: Any) -> None:
        await arrived.wait()
        await submit(self, *found)

    monkeypatch.setattr(ResultBatch, "submit", together)
    await rig.parts.runner.run_jobs({}, [job.id for job in jobs])

    assert writes == [6]
    assert {job.state for job in await rig.jobs(JobKind.METADATA)} == {JobState.SUCCEEDED}
    assert None not in [(await rig.file(file.id)).attributes for file in files]
    assert rig.counted("metadata_batch_rows_sum") == 6


async def test_a_file_deleted_before_its_metadata_ends_the_job_quietly(rig: Rig) -> None:
    file = await rig.published(TABLE)
    async with rig.database.transaction() as repository:
        await repository.files.start_delete(TENANT, file.id)
    await rig.parts.sweep.delete()

    await rig.run()

    [job] = await rig.jobs(JobKind.METADATA)
    assert (job.state, job.error_code) == (JobState.SUCCEEDED, None)


async def test_bytes_that_vanish_under_the_metadata_end_the_job_quietly(rig: Rig) -> None:
    """The file was deleted between the look at its row and the look at its bytes."""
    file = await rig.published(TABLE)
    async with rig.database.transaction() as repository:
        await repository.files.start_delete(TENANT, file.id)
    await rig.parts.sweep.delete()
    async with rig.database.transaction() as repository:
        file.state = FileState.READY
        await repository.files.insert(_copy(file))

    await rig.run()

    [job] = await rig.jobs(JobKind.METADATA)
    assert job.state == JobState.SUCCEEDED
    assert (await rig.file(file.id)).attributes is None


async def test_a_batch_that_the_database_refuses_is_tried_again(rig: Rig) -> None:
    files = [await rig.published(TABLE) for _ in range(3)]
    flaky = FlakyDatabase(rig.database)
    worker = Rig(with_settings(rig.settings, worker_slots=3), cast("Database", flaky), rig.storage, rig.redis)
    jobs = await rig.jobs(JobKind.METADATA)

    flaky.refuse_batches = True
    await asyncio.gather(*(worker.parts.runner.run_job({}, job.id, 0) for job in jobs))
    waiting = await rig.jobs(JobKind.METADATA)
    flaky.refuse_batches = False
    for job in waiting:
        await rig.shift(job.id, 0, "next_attempt_at")
    await asyncio.gather(*(worker.parts.runner.run_job({}, job.id, 1) for job in jobs))

    assert {(job.state, job.error_code) for job in waiting} == {(JobState.QUEUED, "database_unavailable")}
    assert {(job.state, job.attempts) for job in await rig.jobs(JobKind.METADATA)} == {(JobState.SUCCEEDED, 2)}
    assert None not in [(await rig.file(file.id)).attributes for file in files]


async def test_a_result_whose_lease_was_lost_is_not_written(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    file = await rig.published(TABLE)
    [job] = await rig.jobs(JobKind.METADATA)
    zombie = rig.second()
    submit = ResultBatch.submit

    async def too_late(self: ResultBatch, *found: Any) -> None:
        await rig.shift(job.id, -1, "lease_until")
        await rig.parts.sweep.take_back_lost()
        await submit(self, *found)

    monkeypatch.setattr(ResultBatch, "submit", too_late)
    await zombie.parts.runner.run_job({}, job.id, 0)

    assert zombie.counted("lease_lost_total") == 1
    assert (await rig.job(job.id)).state == JobState.QUEUED
    assert (await rig.file(file.id)).attributes is None


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """How many leases each call of a statement on jobs had."""
    seen: list[int] = []
    real = getattr(Jobs, name)

    async def counting(self: Jobs, leases: list[Any]) -> Any:
        seen.append(len(leases))
        return await real(self, leases)

    monkeypatch.setattr(Jobs, name, counting)
    return seen


class FlakyDatabase:
    """The real database; a transaction that ends many jobs at once is refused on demand."""

    def __init__(self, real: Database) -> None:
        self._real = real
        self.refuse_batches = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @asynccontextmanager
    async def transaction(self) -> Any:
        async with self._real.transaction() as repository:
            if self.refuse_batches:
                repository.jobs.succeed_all = _refuse  # type: ignore[method-assign]
            yield repository


async def _refuse(leases: object) -> set[str]:
    raise DatabaseUnavailable("Not now.")


def _copy(row: Any) -> Any:
    return type(row)(**{column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs})
