"""A gateway and a worker as processes of their own, and what a test measures of them while something is away."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.integration.gateway.processes import part
from tests.integration.gateway.rig import Gateway, environment_of, until

CROWD = 64  # requests at once
ANSWER_SECONDS = 20.0  # an answer that takes longer is no answer
IN_TIME = 2.0  # seconds within which a call that needs what is away is refused
BACK_SECONDS = 10.0  # within which it is served again after the return
CRASHES = ("request.crashed", "job.wrapper_failed", "worker.broken")
"""Log events of what nobody expected; an outage is no reason for one."""

Request = tuple[str, str, Any]
"""Method, path, body: bytes as they are, anything else as JSON, None for no body."""


@dataclass(frozen=True)
class Answer:
    """One answer and how long it took, in seconds."""

    status: int
    fields: httpx.Headers
    body: bytes
    seconds: float

    def code(self) -> str:
        """The problem's code; empty for an answer that is none."""
        return str(json.loads(self.body).get("code", "")) if b'"code"' in self.body else ""


@dataclass
class Service:
    """A gateway process, and a worker process where one was asked for."""

    gateway: Gateway
    process: psutil.Process
    worker: subprocess.Popen[bytes] | None
    logs: tuple[Path, ...]

    def crowd(self, requests: Sequence[Request]) -> list[Answer]:
        """Send all requests at once, each on a connection of its own that is open before the clock starts."""
        return asyncio.run(_crowd(self.gateway.port, requests))

    def rss(self) -> int:
        """Resident bytes of the gateway."""
        return int(self.process.memory_info().rss)

    def descriptors(self) -> int:
        return self.process.num_fds()

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.logs)


@contextmanager
def service(folder: Path, redis_url: str, *, worker: bool = False, **settings: str) -> Iterator[Service]:
    """Run the parts over `folder`; where `settings` name no other place, database and storage lie in it."""
    port = _free_port()
    environment = environment_of(folder, redis_url, **{"LOG_LEVEL": "info", **settings})
    logs = (folder.parent / f"{folder.name}-gateway.log", folder.parent / f"{folder.name}-worker.log")
    with ExitStack() as stack:
        process = stack.enter_context(part("gateway", "--port", str(port), environment=environment, log=logs[0]))
        stack.callback(process.send_signal, signal.SIGCONT)
        working = None
        if worker:
            working = stack.enter_context(part("worker", environment=environment, log=logs[1]))
        until(lambda: "gateway.listening" in logs[0].read_text() or process.poll() is not None)
        assert process.poll() is None, logs[0].read_text()
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_SECONDS, trust_env=False)
        )
        until(lambda: not worker or "worker.started" in logs[1].read_text())
        gateway = Gateway(folder, port, client, None, environment)
        running = Service(gateway, psutil.Process(process.pid), working, logs[: 1 + worker])
        yield running
        assert [event for event in CRASHES if event in running.log()] == [], running.log()


def until_served(gateway: Gateway, request: Request, status: int, seconds: float = BACK_SECONDS) -> float:
    """Send the request again and again until it is answered with `status`; how many seconds that took."""
    began = time.monotonic()
    method, path, body = request
    until(lambda: gateway.http.request(method, path, **_content(body)).status_code == status, seconds)
    return time.monotonic() - began


def _content(body: Any) -> dict[str, Any]:
    return {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}


async def _crowd(port: int, requests: Sequence[Request]) -> list[Answer]:
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in requests]
    return await asyncio.gather(
        *(_ask(reader, writer, request) for (reader, writer), request in zip(opened, requests, strict=True))
    )


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> Answer:
    method, path, content = request
    body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
    kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
    head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    began = time.monotonic()
    writer.write((head + f"Content-Type: {kind}\r\n\r\n").encode() + body)
    async with asyncio.timeout(ANSWER_SECONDS):
        raw = await reader.read()
    seconds = time.monotonic() - began
    writer.close()
    head_bytes, _, rest = raw.partition(b"\r\n\r\n")
    status, *lines = head_bytes.decode("latin-1").split("\r\n")
    fields = httpx.Headers([(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)])
    return Answer(int(status.split()[1]), fields, rest, seconds)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
