"""The client carries the trace of its caller, and knows nothing of OpenTelemetry where the caller does not use it."""

import subprocess
import sys

import httpx
import pytest

from client import AsyncClient, Client
from client.transport import Call
from tests.fixtures.traces import Spans

LIMITS = {
    "max_file_size": 1,
    "chunk_size": {"min": 1, "max": 1, "default": ""},
    "max_chunks": 1,
    "digest_algorithms": [],
    "surfaces": [],
}


class Server(httpx.AsyncBaseTransport):
    """Answers everything with the limits and keeps the heads."""

    def __init__(self) -> None:
        self.heads: list[httpx.Headers] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.heads.append(request.headers)
        return httpx.Response(200, json=LIMITS)


@pytest.fixture
def server() -> Server:
    return Server()


async def test_a_request_carries_the_current_span(server: Server, spans: Spans) -> None:
    async with AsyncClient("http://sluice", transport=server) as client:
        with spans.tracer.span("caller") as span:
            await client.limits()
    assert server.heads[0]["traceparent"].split("-")[1] == span.trace_id


def test_the_client_for_threads_carries_it_too(server: Server, spans: Spans) -> None:
    with Client("http://sluice", transport=server) as client, spans.tracer.span("caller") as span:
        client.limits()
    assert server.heads[0]["traceparent"].split("-")[1] == span.trace_id


async def test_without_a_current_span_nothing_is_carried(server: Server) -> None:
    async with AsyncClient("http://sluice", transport=server) as client:
        await client.limits()
    assert "traceparent" not in server.heads[0]


async def test_somebody_elses_server_is_not_told(server: Server, spans: Spans) -> None:
    async with AsyncClient("http://sluice", transport=server) as client:
        with spans.tracer.span("caller"):
            await client._transport.send(Call("GET", "http://store/part?signature=x"))
    assert "traceparent" not in server.heads[0]


def test_the_client_imports_no_opentelemetry() -> None:
    look = (
        "import sys, client.tracing; assert client.tracing.trace_headers() == {};"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    shown = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
