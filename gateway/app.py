"""create_app(settings): lifespan -> typed state, routers, middleware, error handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TypedDict

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from common.settings import Settings
from common.telemetry import Metrics
from common.tracing import NO_TRACER, Tracer
from common.vitals import begin
from gateway import problems, surfaces
from gateway.api import content, files, health, ingest, jobs, parts, uploads
from gateway.assembly import Services, open_services
from gateway.cors import allow_origins
from gateway.guards import Guards
from gateway.intake import IntakeMemory
from gateway.tracing import Traced

DESCRIPTION = """
Queue-backed upload ingestion. Create an upload, send its chunks in any order, finalize, poll the job, read the file.
Every refusal is `application/problem+json` (RFC 9457) with a stable `code`.
"""

# FastAPI's own traces, which begin by themselves where a process has a global provider: ours are in gateway/tracing.py.
UNUSED: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


class State(TypedDict):
    """What the lifespan opens, typed; `gateway.dependencies` hands it to the routes."""

    services: Services


def create_app(settings: Settings, tracer: Tracer = NO_TRACER) -> FastAPI:
    """The gateway as an ASGI app. Nothing is opened before its lifespan begins. Who made `tracer` closes it."""
    metrics, memory = Metrics(), IntakeMemory(settings.http)
    begin(metrics, "gateway")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        async with open_services(settings, metrics, memory, tracer) as services:
            app.state.services = services  # for the server, which tells it to drain
            yield {"services": services}

    app = FastAPI(
        title="Sluice",
        version=version("sluice"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url="/docs",
        redoc_url=None,
        redirect_slashes=False,
        telemetry=UNUSED,
    )
    app.state.memory = memory  # for the server, whose connections read as much as it allows
    # Not `include_router`: it keeps routers as they are and looks for the route in each, twice for each request, which
    # cost a fifth of a small request. Those that are asked for most stand first.
    for native in (ingest, jobs, uploads, parts, files, content, health):
        app.router.routes.extend(native.router.routes)
    for surface in surfaces.SURFACES:
        for router in surface.routers:
            app.router.routes.extend(router.routes)
    problems.install(app, metrics, surfaces.methods_of)
    app.add_middleware(Guards, settings=settings.http, metrics=metrics, streams=surfaces.take_stream)
    for surface in surfaces.SURFACES:
        if surface.envelope is not None:
            app.add_middleware(surface.envelope)
    allow_origins(app, settings.http)
    if tracer.on:
        app.add_middleware(Traced, tracer=tracer)
    return app
