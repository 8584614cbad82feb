"""The health port of a worker: `/livez`, `/readyz`, `/metrics`. Runs in the worker's own event loop: that is the point.

Live means that this process still turns: every poll loop and the heartbeat ticked a short while ago. Dependencies are
not looked at, since a restart would not mend them. Ready means that it would take a job now.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import uvicorn
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.errors import InsufficientStorage, SettingsError, SluiceError
from common.probes import Check, Probes
from common.settings import WorkerSettings
from common.telemetry import Metrics, get_logger

log = get_logger(__name__)

POLL_SILENCE = 30.0  # seconds; a loop that waits for Redis ticks all the same


class Ticking(Protocol):
    """Something that notes when it last turned, by `time.monotonic`."""

    ticked_at: float


class Health:
    """What the worker knows about itself. `phase` is changed by `app`: starting, running, draining."""

    def __init__(self, settings: WorkerSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.phase = "starting"
        self._clock = clock
        self._heartbeat_silence = max(POLL_SILENCE, 3 * settings.heartbeat_seconds)
        self._loops: dict[str, Ticking] = {}
        self._heartbeat: Ticking | None = None
        self._probes = Probes({})

    def watch(self, loops: dict[str, Ticking], heartbeat: Ticking, checks: Mapping[str, Check]) -> None:
        """From now on these must tick, and `checks` must not raise."""
        self._loops, self._heartbeat, self._probes = loops, heartbeat, Probes(checks)

    async def close(self, seconds: float) -> None:
        """Ask nothing any more, and end what is asked, which may take `seconds`."""
        self.phase = "draining"
        await self._probes.close(seconds)

    def silent(self) -> list[str]:
        """What has not turned for too long. While draining the poll loops may have ended already."""
        now = self._clock()
        loops = {} if self.phase == "draining" else self._loops
        found = [f"poll loop {name}" for name, loop in loops.items() if now - loop.ticked_at > POLL_SILENCE]
        if self._heartbeat is not None and now - self._heartbeat.ticked_at > self._heartbeat_silence:
            found.append("heartbeat")
        return found

    async def unready(self) -> list[str]:
        """Why the worker would not take a job now."""
        if self.phase != "running":
            return [self.phase]
        found = self.silent()
        for name, error in (await self._probes.failing()).items():
            if isinstance(error, InsufficientStorage):
                continue  # a seal takes no room, and what does is tried again by itself (ADR 0015)
            if isinstance(error, (SluiceError, RedisError, OSError)):  # TimeoutError is an OSError
                found.append(f"{name} does not answer")
            else:
                log.error("health.check_failed", check=name, exc_info=error)
                found.append(f"{name} cannot be asked")
        return found


def health_app(health: Health, metrics: Metrics) -> Starlette:
    """The three routes."""

    async def livez(request: Request) -> Response:
        del request
        return _answer(health.silent())

    async def readyz(request: Request) -> Response:
        del request
        return _answer(await health.unready())

    async def show_metrics(request: Request) -> Response:
        del request
        metrics.ready.labels(part="worker").set(not await health.unready())
        return Response(metrics.render(), headers={"content-type": metrics.content_type})

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", show_metrics)])


def _answer(reasons: Sequence[str]) -> Response:
    if reasons:
        return JSONResponse({"status": "unavailable", "reasons": list(reasons)}, status_code=503)
    return JSONResponse({"status": "ok"})


class HealthServer(uvicorn.Server):
    """uvicorn as a task of our loop: signals are the worker's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def open_port(settings: WorkerSettings) -> socket.socket:
    """Bind the health port and write its number to the port file. Raises SettingsError when it cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in settings.health_host else socket.AF_INET
        listener = socket.create_server((settings.health_host, settings.health_port), family=family)
    except OSError as error:
        address = f"{settings.health_host}:{settings.health_port}"
        raise SettingsError(f"The health port {address} cannot be had: {os.strerror(error.errno or 0)}.") from error
    if settings.health_port_file:
        _write_atomically(Path(settings.health_port_file), str(listener.getsockname()[1]))
    return listener


def health_server(app: Starlette) -> HealthServer:
    """A server for `serve(sockets=[...])`; end it with `should_exit`."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    return HealthServer(config)


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text, encoding="ascii")
    part.replace(path)
