"""A service whose processes die at random steps, what its clients were told, and what must hold at every moment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import cast

from awscrt.checksums import crc64nvme
from sqlalchemy import delete, select, update

from common.db.clock import db_now
from common.db.models import File, Job, Upload
from common.errors import SluiceError, UploadFinalized
from common.fsck import Fsck
from common.states import FileState, JobKind, JobState, UploadState
from common.storage.base import ObjectKey, UploadKey
from common.storage.local import LocalStorage
from gateway.intake import Pieces
from gateway.service.caller import Caller
from gateway.service.requests import Description, NewUpload
from tests.faults.sweep.mortal import Crash, Life
from tests.faults.sweep.processes import Gateway, mortal
from tests.integration.worker.rig import TENANT, Rig

CHUNK = 700  # bytes
MOST_CHUNKS = 4
LONGEST_LIFE = 12  # steps after which a process may die: about what the longest use case takes
CALLER = Caller(TENANT, "req-1")


@dataclass(eq=False)
class Told:
    """What the client of one upload knows, and what it asked for."""

    id: str
    content: bytes
    acknowledged: set[int] = field(default_factory=set)
    accepted: bool = False  # finalize was answered 202
    given_up: bool = False  # it asked for the end, or stayed away for longer than the upload lives
    deleted: bool = False

    def chunk(self, index: int) -> bytes:
        return self.content[index * CHUNK : (index + 1) * CHUNK]

    @property
    def chunks(self) -> int:
        return -(-len(self.content) // CHUNK)


class World:
    """One run. Everything random comes from `random`, so that a seed tells the whole story."""

    def __init__(self, rig: Rig, root: Path, random: Random) -> None:
        self.told: list[Told] = []
        self.crashes = 0
        self._rig = rig
        self._root = root
        self._random = random
        self._acts: dict[Callable[[Life], Awaitable[None]], int] = {
            self._create: 3,
            self._post: 3,
            self._put: 20,
            self._finalize: 6,
            self._abort: 1,
            self._abort_half: 1,
            self._lose_row: 1,
            self._delete: 1,
            self._run_job: 6,
            self._clock: 3,
            self._sweep: 3,
            self._fsck: 5,
        }

    async def step(self) -> None:
        """One to three things happen at once; each may be the last that its process does."""
        acts = self._random.choices(list(self._acts), list(self._acts.values()), k=self._random.randint(1, 3))
        for outcome in await asyncio.gather(*map(self._lived, acts), return_exceptions=True):
            if isinstance(outcome, Crash):
                self.crashes += 1
            elif isinstance(outcome, BaseException) and not isinstance(outcome, SluiceError):
                raise outcome

    async def _lived(self, act: Callable[[Life], Awaitable[None]]) -> None:
        await act(Life(self._random.randrange(LONGEST_LIFE) if self._random.random() < 0.5 else None))

    # --- clients ----------------------------------------------------------------------------------------------

    async def _create(self, life: Life) -> None:
        content = self._random.randbytes(self._random.randint(1, MOST_CHUNKS * CHUNK))
        status = await Gateway(self._rig, life).uploads.create(CALLER, NewUpload("a", len(content), chunk_size=CHUNK))
        self.told.append(Told(status.upload.id, content))

    async def _post(self, life: Life) -> None:
        """A small file in one request. Of one that it was not told of a client knows nothing."""
        content = self._random.randbytes(self._random.randint(0, CHUNK))
        about, length = Description(None, {}, {}), len(content)
        ingest = Gateway(self._rig, life).ingest
        job = await ingest.take_whole(
            CALLER, Pieces(_body(content)), filename="a", content_type=None, about=about, length=length
        )
        self.told.append(Told(job.upload_id, content, accepted=True))

    def _one(self, **wanted: bool) -> Told | None:
        fitting = [told for told in self.told if all(getattr(told, name) == value for name, value in wanted.items())]
        return self._random.choice(fitting) if fitting else None

    async def _put(self, life: Life) -> None:
        told = self._one(accepted=False)
        if told is not None:
            left = sorted(set(range(told.chunks)) - told.acknowledged)
            index = self._random.choice(left or range(told.chunks))
            pieces = Pieces(_body(told.chunk(index)))
            await Gateway(self._rig, life).chunks.put(CALLER, told.id, index, pieces, None, {})
            told.acknowledged.add(index)

    async def _finalize(self, life: Life) -> None:
        if (told := self._one(given_up=False)) is not None:
            await Gateway(self._rig, life).finalizing.finalize(CALLER, told.id, {})
            told.accepted = True

    async def _abort(self, life: Life) -> None:
        told = self._one(accepted=False)
        if told is not None:
            before, told.given_up = told.given_up, True
            try:
                await Gateway(self._rig, life).uploads.abort(CALLER, told.id)
            except UploadFinalized:
                told.given_up = before

    async def _abort_half(self, life: Life) -> None:
        """The gateway dies between hiding the folder and emptying it."""
        told = self._one(given_up=True)
        folder = self._root / TENANT / "uploads" / (told.id if told else "none")
        if told is not None and await self._row(told.id) == UploadState.ABORTED and folder.exists():
            folder.rename(folder.with_name(f".dying-{told.id}"))

    async def _lose_row(self, life: Life) -> None:
        """An older state of the database came back, in which this upload is not known."""
        told = self._one(accepted=False)
        if told is not None:
            told.given_up = True
            gone = list(map(str, (UploadState.OPEN, UploadState.ABORTED, UploadState.EXPIRED)))
            async with self._rig.database.transaction() as repository:
                lost = delete(Upload).where(Upload.id == told.id, Upload.state.in_(gone))
                await repository.session.execute(lost)

    async def _delete(self, life: Life) -> None:
        told = self._one(accepted=True)
        async with self._rig.database.reading() as repository:
            query = select(File).where(File.upload_id == (told.id if told else ""))
            file = await repository.session.scalar(query)
        if told is not None and file is not None:
            told.deleted = True
            await Gateway(self._rig, life).files.delete(CALLER, file.id)

    # --- the service ------------------------------------------------------------------------------------------

    def _worker(self, life: Life) -> Rig:
        database, storage = mortal(self._rig, life)
        return Rig(self._rig.settings, database, storage, self._rig.redis)

    async def _run_job(self, life: Life) -> None:
        async with self._rig.database.reading() as repository:
            jobs = list(await repository.session.scalars(select(Job).where(Job.state == JobState.QUEUED)))
        if jobs:
            job = self._random.choice(jobs)
            alike = [other for other in jobs if other.kind == job.kind]
            ring = {job.id, *(other.id for other in self._random.sample(alike, min(2, len(alike))))}
            # results of metadata jobs are written by a task of their own, which a Crash would end and nobody notice
            mortal = life if job.kind == JobKind.FINALIZE else Life(None)
            await self._worker(mortal).parts.runner.run_jobs({}, sorted(ring))

    async def _sweep(self, life: Life) -> None:
        await self._worker(life).parts.sweep.once()

    async def _fsck(self, life: Life) -> None:
        database, storage = mortal(self._rig, life)
        checker = Fsck(database, storage)
        async for finding in checker.findings():
            await checker.repair(finding)

    async def _clock(self, life: Life) -> None:
        """Time jumps: leases run out, retries are due, and a client that stays away is forgotten."""
        await self.leases_run_out()
        told = self._one(accepted=False)
        if told is not None and self._random.random() < 0.3:
            told.given_up = True
            await self.abandon(told.id)

    async def leases_run_out(self) -> None:
        async with self._rig.database.transaction() as repository:
            running = update(Job).where(Job.state == JobState.RUNNING)
            await repository.session.execute(running.values(lease_until=db_now(-1)))
            queued = update(Job).where(Job.state == JobState.QUEUED)
            await repository.session.execute(queued.values(next_attempt_at=db_now(-1)))
            published = update(Upload).where(Upload.state == UploadState.COMPLETE)
            await repository.session.execute(published.values(finished_at=db_now(-60)))

    async def _patience_runs_out(self) -> None:
        """Nobody stores bytes any more."""
        async with self._rig.database.transaction() as repository:
            begun = update(Job).where(Job.state == JobState.QUEUED, Job.started_at.is_not(None))
            await repository.session.execute(begun.values(started_at=db_now(-120)))

    async def abandon(self, upload_id: str) -> None:
        """Nobody has sent anything for a month."""
        async with self._rig.database.transaction() as repository:
            await repository.session.execute(
                update(Upload).where(Upload.id == upload_id).values(expires_at=db_now(-30 * 86400))
            )
        folder = self._root / TENANT / "uploads" / upload_id
        if folder.is_dir():
            for path in [*folder.iterdir(), folder]:
                os.utime(path, (0, 0))

    # --- what must hold ---------------------------------------------------------------------------------------

    async def _row(self, upload_id: str) -> str | None:
        async with self._rig.database.reading() as repository:
            return cast(
                "str | None", await repository.session.scalar(select(Upload.state).where(Upload.id == upload_id))
            )

    async def check(self) -> tuple[int, int]:
        """Everything that was acknowledged is there and right; the numbers of chunks and files that were looked at."""
        async with self._rig.database.reading() as repository:
            states = {row.id: UploadState(row.state) for row in await repository.session.scalars(select(Upload))}
            files = {row.upload_id: row for row in await repository.session.scalars(select(File))}
        chunks = 0
        for told in self.told:
            state, file = states.get(told.id), files.get(told.id)
            if not told.given_up and not told.deleted:
                accepted = {UploadState.FINALIZING, UploadState.COMPLETE}
                assert state in (accepted if told.accepted else accepted | {UploadState.OPEN}), f"it is {state}"
                assert (state is UploadState.COMPLETE) == (file is not None)
            if state is UploadState.OPEN and not told.given_up:
                chunks += await self._check_chunks(told)
            if file is not None and not told.deleted:
                assert file.state == FileState.READY
                await self._check_file(told, file)
        return chunks, len(files)

    async def _check_chunks(self, told: Told) -> int:
        found = {receipt.offset: receipt for receipt in await self._rig.storage.receipts(UploadKey(TENANT, told.id))}
        data = (self._root / TENANT / "uploads" / told.id / "data").read_bytes()
        for index in told.acknowledged:
            chunk = told.chunk(index)
            assert found[index * CHUNK].crc64 == crc64nvme(chunk)
            assert data[index * CHUNK :][: len(chunk)] == chunk
        return len(told.acknowledged)

    async def _check_file(self, told: Told, file: File) -> None:
        pieces = await self._rig.storage.read(ObjectKey(TENANT, file.id), 0, file.size)
        assert b"".join([piece async for piece in pieces]) == told.content

    # --- the end ----------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """All processes run again, nobody disturbs them, and clients that were never told of their upload are gone."""
        known = {told.id for told in self.told if not told.given_up}
        async with self._rig.database.reading() as repository:
            ids = set(await repository.session.scalars(select(Upload.id).where(Upload.state == UploadState.OPEN)))
        for upload_id in sorted(ids - known):
            await self.abandon(upload_id)
        for _ in range(20):
            await self.leases_run_out()
            await self._patience_runs_out()
            await self._rig.parts.sweep.once()
            async with self._rig.database.reading() as repository:
                queued = list(await repository.session.scalars(select(Job.id).where(Job.state == JobState.QUEUED)))
            if not queued:
                break
            await asyncio.gather(*(self._rig.parts.runner.run_job({}, job_id, 0) for job_id in queued))
        await self._rig.parts.sweep.once()
        await self._fsck(Life(None))

    async def check_nothing_is_left(self) -> None:
        """Bytes and rows belong to each other, both ways, and no job is on its way."""
        await self.check()
        assert isinstance(self._rig.storage, LocalStorage)
        assert [finding async for finding in Fsck(self._rig.database, self._rig.storage).findings()] == []
        async with self._rig.database.reading() as repository:
            uploads = list(await repository.session.scalars(select(Upload)))
            files = set(await repository.session.scalars(select(File.id)))
            jobs = list(await repository.session.scalars(select(Job)))
        open_now = {row.id for row in uploads if row.state == UploadState.OPEN}
        assert {row.id for row in uploads if not row.cleaned} == open_now
        assert open_now == {told.id for told in self.told if not told.given_up and not told.accepted}
        assert {entry.name for entry in (self._root / TENANT / "uploads").glob("*")} == open_now
        assert {path.name for path in (self._root / TENANT / "files").glob("*/*")} == files
        assert [row.id for row in uploads if row.state == UploadState.FINALIZING] == []
        known = {told.id for told in self.told}  # what nobody was told of may have failed
        failed = [job for job in jobs if job.state != JobState.SUCCEEDED]
        lost = [job.error_code for job in failed if job.upload_id in known or job.error_code != "upload_gone"]
        assert lost == [], lost


async def _body(content: bytes) -> AsyncIterator[bytes]:
    yield content[: CHUNK // 2]
    await asyncio.sleep(0)
    yield content[CHUNK // 2 :]
