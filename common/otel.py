"""Traces by OpenTelemetry: batches of spans, sent by OTLP over HTTP from a thread of their own.

The only module of the service that imports OpenTelemetry; `common.tracing.open_tracer` imports it where a collector is
named. The SDK reads the other `OTEL_*` variables itself: sampler, headers, timeout, batch and queue sizes.

A collector that is away or hangs costs memory for `OTEL_BSP_MAX_QUEUE_SIZE` spans (2048); what does not fit is dropped.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from common.tracing import Attributes, Carrier, Kind, Span

CLOSE_SECONDS = 2.0  # what sending the last spans may take; far inside the grace of gateway and worker

_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "producer": trace.SpanKind.PRODUCER,
    "consumer": trace.SpanKind.CONSUMER,
}
_W3C = TraceContextTextMapPropagator()


def open_otel(service: str, environ: Mapping[str, str]) -> OtelTracer:
    """A tracer that sends to the collector of the environment. Raises ValueError for values that are none."""
    del environ  # the SDK looks for itself
    provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OtelTracer(provider)


class OtelTracer:
    """`common.tracing.Tracer` over a provider of its own; the global one of OpenTelemetry is left alone."""

    on = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("sluice", version("sluice"))

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: Carrier | None = None,
        attributes: Attributes | None = None,
        ago: float = 0.0,
    ) -> Iterator[Span]:
        context = _W3C.extract(parent, context=contexts.Context()) if parent is not None else None
        began = time.time_ns() - int(ago * 1e9) if ago else None
        opened = self._tracer.start_span(name, context, _KINDS[kind], attributes, start_time=began)
        ours = _OtelSpan(opened)
        try:
            with trace.use_span(opened, record_exception=False, set_status_on_exception=False):
                yield ours
        except BaseException as error:
            ours.fail(str(getattr(error, "code", type(error).__name__)))
            raise
        finally:
            opened.end()

    def record(self, name: str, seconds: float) -> None:
        now = time.time_ns()
        self._tracer.start_span(name, start_time=now - int(seconds * 1e9)).end(now)

    def carried(self) -> str | None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    def close(self) -> None:
        """A collector that hangs is left after CLOSE_SECONDS; the threads that wait for it end with the process."""
        closing = threading.Thread(target=self._provider.shutdown, name="close-traces", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class _OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def trace_id(self) -> str | None:
        context = self._span.get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else None

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def add(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, error: str) -> None:
        self._span.set_attribute("error.type", error)
        self._span.set_status(trace.StatusCode.ERROR)


def _resource(service: str) -> Resource:
    """Who we are; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first."""
    ours = Resource(
        {
            "service.name": service,
            "service.namespace": "sluice",
            "service.version": version("sluice"),
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }
    )
    return Resource.create().merge(ours).merge(OTELResourceDetector().detect())
