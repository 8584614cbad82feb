"""Runs the gateway: uvicorn with httptools and uvloop, one process; leaves in three steps on SIGTERM.

Not ready, but serving everybody who still comes (`shutdown_delay`); no new connection, but what is in flight goes on
(`drain_seconds`); closed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from common.settings import HttpSettings, Settings
from common.telemetry import configure_logging, get_logger
from common.tracing import open_tracer
from gateway.app import create_app
from gateway.assembly import Services
from gateway.heap import keep_freed_memory
from gateway.protocol import protocol_with
from gateway.reading import reader_of

log = get_logger(__name__)

KEEP_ALIVE_SECONDS = 75  # longer than the 60 s after which most proxies drop an idle connection on their side
BACKLOG = 2048
TICK_SECONDS = 0.1  # as uvicorn's


def run(settings: Settings, *, host: str = "127.0.0.1", port: int = 8000, fds: Sequence[int] = ()) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. With `fds` inherited listening sockets are used."""
    configure_logging(settings.logs)
    keep_freed_memory(settings.http.intake_memory // 2)
    try:
        listeners = [socket.socket(fileno=fd) for fd in fds] or [_listen(host, port)]
    except OSError as error:
        print(_why_not(error, host, port), file=sys.stderr)  # noqa: T201 - one line for the person at the terminal
        return 1
    tracer = open_tracer("sluice-gateway")
    server = DrainingServer(create_app(settings, tracer), settings.http)
    with ExitStack() as opened:
        opened.callback(tracer.close)
        for listener in listeners:
            opened.enter_context(listener)
        address = listeners[0].getsockname()
        log.info("gateway.listening", address=f"{address[0]}:{address[1]}" if isinstance(address, tuple) else address)
        server.run(sockets=listeners)
    log.info("gateway.stopped", pid=os.getpid())
    return 0 if server.started else 1


class DrainingServer(uvicorn.Server):
    """Turns readiness off first, and answers waiting polls before uvicorn closes connections; exits 0 on SIGTERM."""

    def __init__(self, app: FastAPI, settings: HttpSettings) -> None:
        config = uvicorn.Config(
            app,
            http=cast("Any", reader_of(protocol_with(settings.header_timeout, app.state.memory))),
            ws="none",
            loop="uvloop",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
            backlog=BACKLOG,
        )
        super().__init__(config)
        self._app = app
        self._shutdown_delay = settings.shutdown_delay

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        services: Services = self._app.state.services
        services.leave()
        await self._serve_the_late()
        services.drain()
        await super().shutdown(sockets)

    async def _serve_the_late(self) -> None:
        """Wait until balancers have seen that we leave; a second SIGINT ends the waiting."""
        until = time.monotonic() + self._shutdown_delay
        while time.monotonic() < until and not self.force_exit:
            await self.on_tick(0)  # keeps the Date field right
            await asyncio.sleep(min(TICK_SECONDS, max(0.0, until - time.monotonic())))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but does not raise the signal again at the end: a drained server has ended well."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is already taken; choose another with --port, or stop what listens there"
    return f"cannot listen on {host}:{port}: {error.strerror}"
