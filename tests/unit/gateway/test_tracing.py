"""The server span of a request: named by its route, marked by its answer, and none where nobody would look."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import ASGIApp, Receive, Scope, Send

from common.settings import load_settings
from gateway.app import create_app
from gateway.tracing import Traced
from tests.fixtures.traces import Spans

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Route:
    path = "/v1/files/{file_id}"


def answers(status: int, *, route: bool = True) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["request_id"] = "req-7"
        if route:
            scope["route"] = Route
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def goes_away(scope: Scope, receive: Receive, send: Send) -> None:
    scope["route"] = Route


async def crashes(scope: Scope, receive: Receive, send: Send) -> None:
    raise OSError("/secret/path")


async def request(app: ASGIApp, spans: Spans, **scope: Any) -> Scope:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    whole = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "http_version": "1.1",
        "path": "/v1/files/0190",
        "query_string": b"filename=private.pdf",
        "headers": [],
        **scope,
    }
    await Traced(app, tracer=spans.tracer)(whole, receive, send)
    return whole


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_span_has_the_name_and_attributes_of_the_conventions(spans: Spans) -> None:
    await request(answers(200), spans)
    [span] = spans.all()
    assert (span.name, span.kind) == ("GET /v1/files/{file_id}", SpanKind.SERVER)
    assert said(span) == {
        "http.request.method": "GET",
        "http.route": "/v1/files/{file_id}",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "url.path": "/v1/files/0190",
        "url.scheme": "http",
        "sluice.request_id": "req-7",
    }


async def test_a_request_goes_on_with_the_clients_trace(spans: Spans) -> None:
    scope = await request(answers(200), spans, headers=[(b"traceparent", TRACEPARENT), (b"tracestate", b"a=1")])
    [span] = spans.all()
    assert span.parent is not None
    assert span.parent.span_id == 0xB7AD6B7169203331
    assert span.context is not None
    assert span.context.trace_state.get("a") == "1"
    assert scope["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_an_address_that_leads_nowhere_has_the_method_for_a_name(spans: Spans) -> None:
    await request(answers(404, route=False), spans)
    assert [span.name for span in spans.all()] == ["GET"]


async def test_a_method_that_nobody_knows_is_not_taken_over(spans: Spans) -> None:
    await request(answers(405), spans, method="X" * 1000)
    [span] = spans.all()
    assert (span.name, said(span)["http.request.method"]) == ("HTTP /v1/files/{file_id}", "_OTHER")


@pytest.mark.parametrize(
    ("status", "marked", "error"),
    [(200, StatusCode.UNSET, None), (409, StatusCode.UNSET, None), (503, StatusCode.ERROR, "503")],
)
async def test_only_an_answer_of_ours_that_failed_is_an_error(
    spans: Spans, status: int, marked: StatusCode, error: str | None
) -> None:
    await request(answers(status), spans)
    [span] = spans.all()
    assert (span.status.status_code, said(span).get("error.type")) == (marked, error)


async def test_a_client_that_goes_away_before_the_answer_is_told_apart(spans: Spans) -> None:
    await request(goes_away, spans)
    [span] = spans.all()
    assert said(span)["error.type"] == "client_gone"
    assert "http.response.status_code" not in said(span)


async def test_a_crash_is_marked_without_its_words(spans: Spans) -> None:
    with pytest.raises(OSError, match="secret"):
        await request(crashes, spans)
    [span] = spans.all()
    assert said(span)["error.type"] == "OSError"
    assert "secret" not in span.to_json()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz", "/metrics"])
async def test_probes_leave_no_span(spans: Spans, path: str) -> None:
    await request(answers(200), spans, path=path)
    assert spans.all() == []


def test_the_frameworks_own_telemetry_stays_off_under_a_global_provider(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: spans.provider)
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    app = create_app(load_settings(environ={}))
    assert not app._native_telemetry.enabled()
    assert not app._telemetry["auto_configure"]
