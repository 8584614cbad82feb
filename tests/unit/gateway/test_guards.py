"""The guards around an app: ids, clean ends, bounds, and nothing is written twice."""

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from common.errors import StorageUnavailable
from common.settings import HttpSettings
from common.telemetry import Metrics
from gateway.guards import Guards

Message = dict[str, Any]


class Exchange:
    """One request from the server's side: the body that comes, and what the app sends."""

    def __init__(self, *pieces: bytes, method: str = "POST", path: str = "/v1/x", **headers: str) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self._pieces = list(pieces)
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope: Scope = {"type": "http", "method": method, "path": path, "headers": fields}

    async def receive(self) -> Message:
        if not self._pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": bool(self._pieces)}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    @property
    def left(self) -> int:
        return len(self._pieces)

    def header(self, name: bytes) -> bytes | None:
        return dict(self.sent[0]["headers"]).get(name)


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok", "more_body": False})


async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await answer(send)


async def reads_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send)


async def run(app: Any, exchange: Exchange, **settings: Any) -> Metrics:
    metrics = Metrics()
    guards = Guards(app, settings=HttpSettings.model_validate(settings), metrics=metrics)
    await guards(exchange.scope, exchange.receive, exchange.send)
    return metrics


async def test_a_body_that_was_read_leaves_the_connection_open() -> None:
    exchange = Exchange(b"a", b"b", content_length="2")
    await run(reads_all, exchange)
    assert exchange.header(b"connection") is None
    assert [message.get("more_body") for message in exchange.sent[1:]] == [False]


async def test_a_body_that_was_not_read_closes_the_connection_after_it_was_dropped() -> None:
    exchange = Exchange(b"a", b"b", b"c", content_length="3")
    await run(reads_nothing, exchange)
    assert exchange.header(b"connection") == b"close"
    assert exchange.left == 0
    assert [(m["body"], m["more_body"]) for m in exchange.sent[1:]] == [(b"ok", True), (b"", False)]


@pytest.mark.parametrize("headers", [{}, {"content_length": "0"}])
async def test_a_request_without_a_body_leaves_the_connection_open(headers: dict[str, str]) -> None:
    exchange = Exchange(method="GET", **headers)
    await run(reads_nothing, exchange)
    assert exchange.header(b"connection") is None


async def test_an_error_becomes_an_answer_and_is_counted_once() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise StorageUnavailable("later")

    exchange = Exchange(method="GET")
    metrics = await run(fails, exchange)
    assert exchange.sent[0]["status"] == 503
    assert metrics.registry.get_sample_value("sluice_refused_total", {"code": "storage_unavailable"}) == 1


async def test_an_error_in_the_middle_of_an_answer_cuts_it() -> None:
    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise StorageUnavailable("later")

    exchange = Exchange(method="GET")
    with pytest.raises(StorageUnavailable):
        await run(breaks, exchange)
    assert len(exchange.sent) == 1


async def test_a_client_that_went_away_is_counted_as_499() -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    metrics = await run(silent, Exchange(method="GET"))
    labels = {"method": "GET", "route": "unmatched", "status": "499"}
    assert metrics.registry.get_sample_value("sluice_http_requests_total", labels) == 1


async def test_a_declared_length_over_the_limit_never_reaches_the_app() -> None:
    exchange = Exchange(b"x", content_length="2000")
    await run(reads_all, exchange, max_json_body=1999)
    assert exchange.sent[0]["status"] == 413


@pytest.mark.parametrize(
    ("method", "path", "limited"),
    [
        ("POST", "/v1/uploads", True),
        ("POST", "/v1/files", False),
        ("POST", "/v1/files/", False),
        ("PATCH", "/v1/files/x", True),
        ("PUT", "/v1/uploads/x/chunks/1", False),
        ("POST", "/v1/uploads/x/chunks/1", True),
        ("PUT", "/v1/uploads/x/chunks/1/2", True),
        ("GET", "/livez", True),
    ],
)
async def test_only_routes_that_stream_have_no_limit(method: str, path: str, limited: bool) -> None:
    exchange = Exchange(b"x" * 3000, method=method, path=path, transfer_encoding="chunked")
    await run(reads_all, exchange, max_json_body=1999)
    assert exchange.sent[0]["status"] == (413 if limited else 200)


async def test_what_is_no_http_is_passed_through() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    exchange = Exchange()
    exchange.scope = {"type": "lifespan"}
    await run(app, exchange)
    assert seen == ["lifespan"]


@pytest.mark.parametrize("path", ["/livez\n", "/v1/uploads/x\r\n", "/v1/\x00", "/\x7f"])
async def test_a_path_with_control_characters_never_reaches_the_app(path: str) -> None:
    exchange = Exchange(method="GET", path=path)
    await run(reads_nothing, exchange)
    assert exchange.sent[0]["status"] == 404


@pytest.mark.parametrize(
    ("coding", "status"), [("gzip", 415), ("identity, br", 415), ("identity", 200), ("Identity", 200), ("", 200)]
)
async def test_a_coded_body_is_refused(coding: str, status: int) -> None:
    exchange = Exchange(b"x", content_encoding=coding)
    await run(reads_all, exchange)
    assert exchange.sent[0]["status"] == status


async def test_every_line_of_a_field_is_looked_at() -> None:
    exchange = Exchange(b"x", content_encoding="gzip")
    exchange.scope["headers"].append((b"content-encoding", b"identity"))
    await run(reads_all, exchange)
    assert exchange.sent[0]["status"] == 415


async def test_a_request_that_only_waits_lends_its_place() -> None:
    inner = Exchange(method="GET")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope is inner.scope:
            await answer(send)
            return
        with scope["slots"].lent():
            await guards(inner.scope, inner.receive, inner.send)
        await answer(send)

    guards = Guards(app, settings=HttpSettings(max_requests=1), metrics=Metrics())
    outer = Exchange(method="GET")
    await guards(outer.scope, outer.receive, outer.send)
    assert (inner.sent[0]["status"], outer.sent[0]["status"]) == (200, 200)
