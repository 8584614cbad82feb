"""The scripted upload as a stream: what a client of an offset-based protocol does, also after its gateway died."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from awscrt.checksums import crc64nvme
from sqlalchemy import select

from common.db.models import Upload
from common.errors import SluiceError
from common.states import UploadState
from gateway.assembly import Services
from gateway.intake import Pieces
from gateway.service.appends import Append
from gateway.service.caller import Caller
from gateway.service.streams import NewStream, StreamStatus
from tests.faults.points import script

MARK = "stream"
"""A file in the folder of a point: its upload is a stream."""

CALLER = Caller(script.TENANT, "req-fault")
TRIES = 4  # of one append: a client that was refused asks for the offset and goes on
BODY_PIECE = 16 * 1024
CUT = script.CHUNK + 1  # where the first part of two ends


@dataclass
class StreamClient:
    """Sends chunk by chunk, so that what it was told can be held against the receipts."""

    services: Services
    acks: script.Acks
    upload_id: str | None = None
    final: bool = False

    async def upload(self) -> list[int]:
        """From create to the job; the chunks that were missing when it began."""
        if self.upload_id is None:
            await self._abort_unknown()
            self.upload_id = await self._create(NewStream(script.SIZE, "fault.bin"))
            self.acks.note(upload=self.upload_id)
        status = await self._look(self.upload_id)
        missing = []
        if status.upload.state == UploadState.OPEN and status.offset is not None:
            missing = list(range(status.offset // script.CHUNK, script.CHUNK_COUNT))
        for index in missing:
            end = min((index + 1) * script.CHUNK, script.SIZE)
            await self._append(self.upload_id, script.CONTENT, end)
            self.acks.note(chunk=index, crc64=crc64nvme(script.piece(index)))
        self.acks.note(job=(await self._look(self.upload_id)).job_id)
        if self.final:
            await self._abort_unknown()  # the parts, which nobody needs any more
        return missing

    async def upload_parts(self) -> None:
        """Two partial uploads and the final one; only that one is noted."""
        parts = []
        for content in (script.CONTENT[:CUT], script.CONTENT[CUT:]):
            parts.append(await self._create(NewStream(len(content), partial=True)))
            await self._append(parts[-1], content, len(content))
        status = await self.services.concatenations.create(CALLER, NewStream(None, "fault.bin"), parts)
        self.acks.note(upload=status.upload.id, job=status.job_id)

    async def _create(self, new: NewStream) -> str:
        for _ in range(TRIES):
            try:
                return (await self.services.streams.create(CALLER, new)).upload.id
            except SluiceError as error:
                self._note("create", error)
            except Exception as error:
                self.acks.note(unexpected=f"create: {error!r}")
        raise RuntimeError("create was refused")

    async def _append(self, upload_id: str, content: bytes, end: int) -> None:
        """Append up to `end`, from where the stream ends."""
        for _ in range(TRIES):
            try:
                offset = (await self._look(upload_id)).offset or 0
                if offset < end:
                    body = Pieces(body_of(content[offset:end]))
                    await self.services.appends.append(CALLER, upload_id, Append(offset), body)
                return
            except SluiceError as error:
                self._note("append", error)
            except Exception as error:
                self.acks.note(unexpected=f"append: {error!r}")
        raise RuntimeError("append was refused")

    async def _look(self, upload_id: str) -> StreamStatus:
        for _ in range(TRIES - 1):
            try:
                return await self.services.streams.status(CALLER, upload_id)
            except SluiceError as error:
                self._note("look", error)
        return await self.services.streams.status(CALLER, upload_id)

    def _note(self, name: str, error: SluiceError) -> None:
        if error.status < 500:
            raise error
        self.acks.note(refused=f"{name}: {error.code}")

    async def _abort_unknown(self) -> None:
        """What no client knows of would expire; here it goes at once."""
        async with self.services.database.reading() as repository:
            query = select(Upload.id).where(Upload.state == UploadState.OPEN)
            ids = list(await repository.session.scalars(query))
        for upload_id in ids:
            if upload_id != self.upload_id:
                await self.services.streams.abort(CALLER, upload_id)


def returning(services: Services, acks: script.Acks, folder: Path) -> StreamClient | None:
    """The client that comes back after a fault; None where the upload is no stream."""
    if not (folder / MARK).exists():
        return None
    known = script.told(folder)
    return StreamClient(services, acks, known.upload, final=not known.chunks and known.job is not None)


async def body_of(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), BODY_PIECE):
        yield content[start : start + BODY_PIECE]
