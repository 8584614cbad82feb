"""Traces are off unless the environment names a collector that can be used; then spans nest, carry on and end."""

import subprocess
import sys

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from common.errors import StorageUnavailable
from common.tracing import NO_TRACER, TRACEPARENT_LENGTH, open_tracer
from tests.fixtures.traces import Spans

COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"  # the example of the specification


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {**COLLECTOR, "OTEL_SDK_DISABLED": "TRUE"},
        {**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"},
        {**COLLECTOR, "OTEL_TRACES_EXPORTER": "zipkin"},
        {**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_traces_are_off(environ: dict[str, str]) -> None:
    assert open_tracer("sluice-test", environ) is NO_TRACER


@pytest.mark.parametrize(
    "environ",
    [
        COLLECTOR,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"},
        {**COLLECTOR, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
    ],
)
def test_a_collector_turns_traces_on(environ: dict[str, str]) -> None:
    tracer = open_tracer("sluice-test", environ)
    assert tracer.on
    tracer.close()


def test_without_the_extra_a_process_runs_without_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "common.otel", None)  # as an import that fails
    assert open_tracer("sluice-test", COLLECTOR) is NO_TRACER


def test_what_the_library_refuses_turns_traces_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")  # less than one batch
    assert open_tracer("sluice-test", COLLECTOR) is NO_TRACER


def imported_by(statements: str, *prefixes: str) -> str:
    """Which of these modules a process that traces nothing has imported after these statements."""
    look = f"import sys; {statements}; print([name for name in sys.modules if name.startswith({prefixes!r})])"
    shown = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    return shown.stdout.strip()


def test_a_worker_that_traces_nothing_imports_nothing_of_opentelemetry() -> None:
    statements = "import worker.app; from common.tracing import open_tracer; open_tracer('x', {})"
    assert imported_by(statements, "opentelemetry") == "[]"


def test_a_gateway_that_traces_nothing_imports_nothing_but_the_api_that_fastapi_imports() -> None:
    statements = (
        "from common.settings import load_settings; from common.tracing import open_tracer;"
        "from gateway.app import create_app; create_app(load_settings(environ={}), open_tracer('x', {}))"
    )
    assert imported_by(statements, "opentelemetry.sdk", "opentelemetry.exporter", "requests") == "[]"


def test_spans_nest(spans: Spans) -> None:
    with spans.tracer.span("outer"), spans.tracer.span("inner"):
        pass
    assert spans.line_of(spans.one("inner")) == ["inner", "outer"]


def test_a_span_goes_on_with_a_trace_from_outside(spans: Spans) -> None:
    with spans.tracer.span("served", kind="server", parent={"traceparent": TRACEPARENT}) as span:
        assert span.trace_id == "0af7651916cd43dd8448eb211c80319c"
    served = spans.one("served")
    assert served.kind is SpanKind.SERVER
    assert served.parent is not None
    assert served.parent.span_id == 0xB7AD6B7169203331


@pytest.mark.parametrize("traceparent", ["", "00-0-0-01", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "x" * 5000])
def test_a_trace_from_outside_that_is_none_is_passed_over(spans: Spans, traceparent: str) -> None:
    with spans.tracer.span("served", parent={"traceparent": traceparent}):
        pass
    assert spans.one("served").parent is None


def test_a_parent_from_outside_stands_before_the_current_span(spans: Spans) -> None:
    with spans.tracer.span("outer"), spans.tracer.span("begun", parent={}):
        pass
    assert spans.one("begun").parent is None


def test_what_is_carried_names_the_current_span(spans: Spans) -> None:
    with spans.tracer.span("sent") as span:
        carried = spans.tracer.carried()
    assert carried is not None
    assert len(carried) == TRACEPARENT_LENGTH
    assert carried.split("-")[1] == span.trace_id


def test_nothing_is_carried_outside_of_a_span(spans: Spans) -> None:
    assert spans.tracer.carried() is None


def test_an_error_of_ours_marks_the_span_with_its_code_and_not_with_its_text(spans: Spans) -> None:
    with pytest.raises(StorageUnavailable), spans.tracer.span("seal"):
        raise StorageUnavailable("/secret/path does not answer")
    seal = spans.one("seal")
    assert seal.status.status_code is StatusCode.ERROR
    assert (seal.attributes or {})["error.type"] == "storage_unavailable"
    assert "secret" not in seal.to_json()


def test_a_part_that_has_ended_keeps_its_time(spans: Spans) -> None:
    with spans.tracer.span("attempt", ago=2.0):
        spans.tracer.record("claim", 2.0)
    claim, attempt = spans.one("claim"), spans.one("attempt")
    assert (claim.end_time or 0) - (claim.start_time or 0) == 2_000_000_000
    assert abs((claim.start_time or 0) - (attempt.start_time or 0)) < 1_000_000_000
    assert (attempt.end_time or 0) >= (claim.end_time or 0)
