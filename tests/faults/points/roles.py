"""What a child of the nursery does. Product code does the work; only ids, names and threads are made predictable."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from sqlalchemy import select, update

import gateway.app
import gateway.server
import gateway.service.uploads
import worker.app
from common import starting
from common.db.clock import db_now
from common.db.database import Database
from common.db.models import Upload
from common.errors import SluiceError
from common.settings import load_settings
from common.states import JobKind, UploadState
from common.storage import journal
from common.telemetry import Metrics
from gateway.assembly import Services, open_services
from gateway.intake import IntakeMemory, Pieces
from gateway.service.caller import Caller
from gateway.service.requests import NewUpload
from tests.faults.controls import removals
from tests.faults.controls.zombie import zombie
from tests.faults.points import script, small, streams
from tests.faults.points.by_hand import one_thread, open_worker

CALLER = Caller(script.TENANT, "req-fault")
TRIES = 4  # of one request: a client that was refused with 5xx comes again
ROUNDS = 4  # of sending, verifying and sending again what was damaged
BODY_PIECE = 16 * 1024

T = TypeVar("T")


def play(role: str, folder: Path, arguments: dict[str, Any]) -> int | None:
    """Run one role to its end; its exit status."""
    without: str | None = arguments.pop("without", None)
    removals.take_out(without)
    if role in ("gateway", "worker"):
        return {"gateway": serve_gateway, "worker": run_worker}[role](folder, **arguments)
    asyncio.run(ROLES[role](folder, **arguments))
    return None


# --- the storing process --------------------------------------------------------------------------------------


async def store(folder: Path, cut: int = 0) -> None:
    """Create, chunks, finalize, as a client that repeats what was refused. `cut`: this write is a short one."""
    removals.shorten_write(cut)
    async with _storing(folder) as (services, acks):
        await Client(services, acks).upload()


async def append(folder: Path) -> None:
    """The same as a stream."""
    async with _storing(folder) as (services, acks):
        await streams.StreamClient(services, acks).upload()


async def parts(folder: Path) -> None:
    """Two partial uploads, and the final one that waits for its job."""
    async with _storing(folder, *script.new_part_ids()) as (services, acks):
        await streams.StreamClient(services, acks).upload_parts()


async def post(folder: Path) -> None:
    """The same as a small file in one request."""
    async with _storing(folder, INTAKE_BUFFER=small.MEMORY) as (services, acks):
        await small.SmallClient(services, acks).upload()


@asynccontextmanager
async def _storing(folder: Path, *before: str, **variables: str) -> AsyncIterator[tuple[Services, script.Acks]]:
    """A gateway's use cases; the scripted ids follow those of uploads that are made `before`."""
    _name_journals("store")
    _choose_ids(gateway.service.uploads, *before, script.UPLOAD_ID, script.FILE_ID)
    _choose_ids(starting, script.JOB_ID, script.FILE_ID)
    settings = script.settings_of(folder, **variables)
    async with open_services(settings, Metrics(), IntakeMemory(settings.http)) as services:
        one_thread(services.storage)
        yield services, script.Acks(folder)


@dataclass
class Client:
    """Sends the scripted upload to the use cases of a gateway, as its routes would."""

    services: Services
    acks: script.Acks

    async def upload(self) -> list[int]:
        """From create to finalize; the chunks that were missing when it began."""
        wanted = NewUpload("fault.bin", script.SIZE, chunk_size=script.CHUNK)
        status = await self.asked("create", lambda: self.services.uploads.create(CALLER, wanted, "the-key"))
        upload_id = status.upload.id
        self.acks.note(upload=upload_id)
        missing = [index for first, last in status.missing for index in range(first, last + 1)]
        if status.upload.state == UploadState.OPEN:
            for index in missing:
                await self._put(upload_id, index)
        job = await self.asked("finalize", lambda: self.services.finalizing.finalize(CALLER, upload_id, {}))
        self.acks.note(job=job.id)
        return missing

    async def _put(self, upload_id: str, index: int) -> None:
        content = script.piece(index)
        receipt = await self.asked(
            "chunk",
            lambda: self.services.chunks.put(CALLER, upload_id, index, Pieces(_body(content)), len(content), {}),
        )
        self.acks.note(chunk=index, crc64=receipt.crc64)

    async def asked(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        for _ in range(TRIES):
            try:
                return await call()
            except SluiceError as error:
                if error.status < 500:
                    raise
                self.acks.note(refused=f"{name}: {error.code}")
            except Exception as error:
                self.acks.note(unexpected=f"{name}: {error!r}")
        raise RuntimeError(f"{name} was refused {TRIES} times")


async def _body(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), BODY_PIECE):
        yield content[start : start + BODY_PIECE]


# --- the sealing process --------------------------------------------------------------------------------------


async def seal(folder: Path) -> None:
    """Run the finalize job and then the metadata job, once each."""
    _name_journals("seal")
    async with open_worker(script.settings_of(folder)) as by_hand:
        for kind in JobKind:
            await by_hand.run_due(kind)


# --- after the fault ------------------------------------------------------------------------------------------


async def recover(folder: Path) -> None:
    """Everything starts again and nothing fails any more. What was found on the way goes to `recovered.json`."""
    settings = script.settings_of(folder, INTAKE_BUFFER=small.MEMORY)
    missing: list[list[int]] = []
    memory = IntakeMemory(settings.http)
    async with open_services(settings, Metrics(), memory) as services, open_worker(settings) as by_hand:
        acks = script.Acks(folder)
        for _ in range(ROUNDS):
            await by_hand.finish()
            returning = streams.returning(services, acks, folder) or small.returning(services, acks, folder)
            client = returning or Client(services, acks)
            missing.append(await client.upload())
            await by_hand.finish()
            if await _all_ended(by_hand.context.database):
                break
    (folder / "recovered.json").write_text(json.dumps({"missing": missing}))


async def _all_ended(database: Database) -> bool:
    async with database.reading() as repository:
        alive = (UploadState.OPEN, UploadState.FINALIZING)
        return await repository.session.scalar(select(Upload.id).where(Upload.state.in_(alive)).limit(1)) is None


async def abandon(folder: Path) -> None:
    """The client never comes back: what is open expires."""
    async with open_worker(script.settings_of(folder, UPLOAD_TTL="0.001")) as by_hand:
        for _ in range(2):  # damage that is found gives an upload its time again
            async with by_hand.context.database.transaction() as repository:
                await repository.session.execute(update(Upload).values(expires_at=db_now(-60)))
            await by_hand.finish()


# --- whole processes ------------------------------------------------------------------------------------------


def serve_gateway(folder: Path, *, environment: dict[str, str]) -> int:
    """A gateway on any free port, whose number goes to `gateway.port`."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = folder / "gateway.port"
    port.with_suffix(".new").write_text(str(listener.getsockname()[1]))
    port.with_suffix(".new").rename(port)
    return gateway.server.run(load_settings(environ=environment), fds=[listener.detach()])


def run_worker(folder: Path, *, environment: dict[str, str]) -> int:
    del folder
    return worker.app.run(load_settings(environ=environment))


# --- what is made predictable ---------------------------------------------------------------------------------


def _choose_ids(module: ModuleType, *first: str) -> None:
    ids = script.new_ids(*first)
    module.new_id = lambda: next(ids)  # type: ignore[attr-defined]


def _name_journals(role: str) -> None:
    numbers = iter(range(10_000))
    journal.new_journal = lambda folder: folder / f"receipts-{role}-{next(numbers)}.log"


ROLES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "store": store,
    "append": append,
    "post": post,
    "parts": parts,
    "seal": seal,
    "recover": recover,
    "abandon": abandon,
    "zombie": zombie,
}
