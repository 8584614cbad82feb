"""Annotated aliases for the routes: who is calling, and the use cases. Authentication comes before any body is read.

All are `async def`: FastAPI runs a plain function in a thread, which costs more than the function.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from gateway.assembly import Services as ServicesValue
from gateway.service.appends import AppendService
from gateway.service.caller import Caller as CallerValue
from gateway.service.chunks import ChunkService
from gateway.service.concatenations import ConcatenationService
from gateway.service.direct import DirectService
from gateway.service.files import FileService
from gateway.service.finalize import FinalizeService
from gateway.service.ingest import IngestService
from gateway.service.jobs import JobService
from gateway.service.parts import PartService
from gateway.service.streams import StreamService
from gateway.service.uploads import UploadService

DEFAULT_TENANT = "default"


async def services_of(request: Request) -> ServicesValue:
    """What the lifespan has opened."""
    services: ServicesValue = request.state.services
    return services


async def caller_of(request: Request) -> CallerValue:
    """Everybody is the tenant `default` until authentication comes; the tenant is part of every query already."""
    return CallerValue(DEFAULT_TENANT, request.scope["request_id"])


Services = Annotated[ServicesValue, Depends(services_of)]
Caller = Annotated[CallerValue, Depends(caller_of)]


async def _uploads(services: Services) -> UploadService:
    return services.uploads


async def _chunks(services: Services) -> ChunkService:
    return services.chunks


async def _finalizing(services: Services) -> FinalizeService:
    return services.finalizing


async def _ingest(services: Services) -> IngestService:
    return services.ingest


async def _direct(services: Services) -> DirectService:
    return services.direct


async def _streams(services: Services) -> StreamService:
    return services.streams


async def _appends(services: Services) -> AppendService:
    return services.appends


async def _concatenations(services: Services) -> ConcatenationService:
    return services.concatenations


async def _parts(services: Services) -> PartService:
    return services.parts


async def _jobs(services: Services) -> JobService:
    return services.jobs


async def _files(services: Services) -> FileService:
    return services.files


Uploads = Annotated[UploadService, Depends(_uploads)]
Chunks = Annotated[ChunkService, Depends(_chunks)]
Finalizing = Annotated[FinalizeService, Depends(_finalizing)]
Ingest = Annotated[IngestService, Depends(_ingest)]
Direct = Annotated[DirectService, Depends(_direct)]
Streams = Annotated[StreamService, Depends(_streams)]
Appends = Annotated[AppendService, Depends(_appends)]
Concatenations = Annotated[ConcatenationService, Depends(_concatenations)]
Parts = Annotated[PartService, Depends(_parts)]
Jobs = Annotated[JobService, Depends(_jobs)]
Files = Annotated[FileService, Depends(_files)]
