"""Gateways without HTTP, and a worker, over one place: what a surface has in its hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from common.db.models import File
from common.ids import new_id
from common.settings import Settings
from common.states import UploadState
from common.storage.base import ObjectKey
from common.telemetry import Metrics
from gateway.assembly import Services, open_services
from gateway.intake import IntakeMemory, Pieces
from gateway.service.appends import Append
from gateway.service.caller import Caller
from gateway.service.streams import NewStream, StreamStatus
from tests.integration.worker.rig import TENANT, Rig

ME = Caller(TENANT, "req-1")


class Line:
    """The body of a request: sends `content` in pieces, then waits for `end` unless it is whole."""

    def __init__(self, content: bytes, *, stalls: bool = False, piece: int = 4096) -> None:
        self.sent = asyncio.Event()
        self.end = asyncio.Event()
        self._content = content
        self._stalls = stalls
        self._piece = piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), self._piece):
            yield self._content[start : start + self._piece]
        self.sent.set()
        if self._stalls:
            await self.end.wait()

    @property
    def pieces(self) -> Pieces:
        return Pieces(aiter(self))


@dataclass
class Gateway:
    """One gateway's use cases, in the words of a surface."""

    services: Services

    async def create(self, size: int | None, **more: object) -> str:
        """The id of a new stream."""
        status = await self.services.streams.create(ME, NewStream(size, **more))  # type: ignore[arg-type]
        return status.upload.id

    async def append(self, upload_id: str, offset: int, content: bytes | Line, **more: object) -> StreamStatus:
        line = content if isinstance(content, Line) else Line(content)
        return await self.services.appends.append(ME, upload_id, Append(offset, **more), line.pieces)  # type: ignore[arg-type]

    async def look(self, upload_id: str) -> StreamStatus:
        return await self.services.streams.status(ME, upload_id)


@dataclass
class Site:
    """Opens gateways; the worker runs when it is told to."""

    settings: Settings
    rig: Rig
    stack: AsyncExitStack
    gateways: list[Gateway] = field(default_factory=list)

    async def gateway(self, settings: Settings | None = None) -> Gateway:
        """One more gateway."""
        settings = settings or self.settings
        opening = open_services(settings, Metrics(), IntakeMemory(settings.http))
        self.gateways.append(Gateway(await self.stack.enter_async_context(opening)))
        return self.gateways[-1]

    async def published(self, upload_id: str) -> tuple[File, bytes]:
        """Run the worker until its queues are empty; the file that the upload has become, and its bytes."""
        await self.rig.run()
        upload = await self.rig.get_upload(upload_id)
        assert upload.state == UploadState.COMPLETE, upload.state
        file = await self.rig.file(upload.file_id or "")
        pieces = await self.rig.storage.read(ObjectKey(TENANT, file.id), 0, file.size)
        return file, b"".join([piece async for piece in pieces])


def unknown_id() -> str:
    return new_id()
