"""Publish: the sealed bytes of an upload become a file, in one transaction for all that are sealed at the same moment.

Of several, each stands for itself: what is wrong with one is found by trying each alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from common.db.database import Database
from common.db.models import File, Job
from common.db.repository import Repository
from common.db.statements import Key
from common.errors import DatabaseUnavailable, LeaseLost, UploadGone
from common.gather import Gather
from common.queue import Bell, ring_of, share_bell
from common.states import JobState, UploadState
from worker.lease import Hold

AT_ONCE = 128  # files of one transaction; more than a ring carries, less than keeps others waiting


@dataclass(frozen=True, slots=True)
class Publication:
    """A file, the job that made it, and the metadata job: one that follows, or one that was done along with it."""

    hold: Hold
    file: File
    metadata: Job
    cleaned: bool = False  # nothing of the upload is left in the storage

    @property
    def is_described(self) -> bool:
        """Whether the file has its attributes already."""
        return self.metadata.state == JobState.SUCCEEDED


class Publisher:
    """Writes publications. One per worker process."""

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell
        self._gather = Gather(self._write, AT_ONCE, shared=(DatabaseUnavailable,))

    async def publish(self, publication: Publication) -> None:
        """Raises LeaseLost, UploadGone, IntegrityError (a file of this upload is there already), DatabaseUnavailable;
        then nothing of it was written. Otherwise the bell of the metadata job was rung."""
        await asyncio.shield(await self._gather.ask(publication))

    async def publish_all(self, publications: Sequence[Publication]) -> list[Exception | None]:
        """The same for many, each for itself: what it would raise, or None."""
        outcomes = await self._gather.ask_all(publications)
        ringing = {outcome for outcome in outcomes if isinstance(outcome, asyncio.Task)}
        if ringing:
            await asyncio.shield(asyncio.gather(*ringing))
        return [outcome if isinstance(outcome, Exception) else None for outcome in outcomes]

    async def _write(self, asked: Sequence[Publication]) -> list[asyncio.Task[bool] | Exception]:
        share_bell([publication.metadata for publication in asked if not publication.is_described])
        async with self._database.transaction() as db:
            # The jobs first: their fences decide whether anything else of this transaction may happen.
            held = await db.jobs.succeed_all([publication.hold.lease for publication in asked])
            allowed = [publication for publication in asked if publication.hold.lease.job_id in held]
            following = [publication for publication in allowed if not publication.is_described]
            described = [publication for publication in allowed if publication.is_described]
            for alike in (following, described):
                await db.files.insert_all([publication.file for publication in alike])
            alone = len(asked) == 1  # then whoever holds its row keeps nobody else waiting
            for cleaned in (True, False):
                keys = [_upload_of(publication) for publication in allowed if publication.cleaned is cleaned]
                if keys and await db.uploads.complete_all(keys, wait=alone, cleaned=cleaned) != set(keys):
                    raise UploadGone("The upload was given up while it was being verified; create a new upload.")
            for alike in (following, described):
                await db.jobs.insert_all([publication.metadata for publication in alike])
        ringing = asyncio.create_task(self._bell.ring(*(ring_of(publication.metadata) for publication in following)))
        lost = LeaseLost("The lease was lost before the file was published.")
        return [ringing if publication.hold.lease.job_id in held else lost for publication in asked]


async def adopt(hold: Hold, repository: Repository) -> None:
    """End a job whose file is published already: the fence lets nobody publish twice, so it was a former life.

    Raises UploadGone, LeaseLost.
    """
    upload = await repository.uploads.get(hold.job.tenant, hold.job.upload_id)
    if upload is None or upload.state != UploadState.COMPLETE:
        raise UploadGone("A file of this upload exists, but the upload is not complete; create a new upload.")
    if not await repository.jobs.succeed(hold.lease, file_id=upload.file_id):
        raise LeaseLost("The lease was lost before the file was published.")


def _upload_of(publication: Publication) -> Key:
    return publication.file.tenant, publication.file.upload_id
