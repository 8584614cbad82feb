"""Traces: what our code says about its work. Where they go is decided by the standard `OTEL_*` variables.

Off unless they name a collector; then the SDK of OpenTelemetry is not imported, and a span costs one call that does
nothing. `common.otel` is the other half. The reasons are in docs/adr/0011-traces.md.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from common.telemetry import get_logger

log = get_logger(__name__)

Attributes = Mapping[str, str | int | float | bool]
Carrier = Mapping[str, str]
"""`traceparent`, and `tracestate` where there is one (W3C Trace Context, sections 3.2 and 3.3)."""
Kind = Literal["internal", "server", "producer", "consumer"]

TRACEPARENT_LENGTH = 55  # version, trace id, span id, flags, as in section 3.2.2

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Span(Protocol):
    """One piece of work of a trace. Ends with its `with` block; an exception that leaves the block marks it."""

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits; None where there is no trace."""
        ...

    def rename(self, name: str) -> None:
        """Names have no ids and no names of files: a name stands for many spans."""
        ...

    def add(self, attributes: Attributes) -> None: ...

    def fail(self, error: str) -> None:
        """Mark as failed: a code of ours, a status, or the name of a class. Never the text of an exception."""
        ...


class Tracer(Protocol):
    """Makes the spans of one process."""

    on: bool

    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: Carrier | None = None,
        attributes: Attributes | None = None,
        ago: float = 0.0,
    ) -> AbstractContextManager[Span]:
        """Current until its block ends. It belongs to `parent`, else to the current span, else it begins a trace.
        `ago`: it began so many seconds before now."""
        ...

    def record(self, name: str, seconds: float) -> None:
        """A part of the current span that has just ended."""
        ...

    def carried(self) -> str | None:
        """The `traceparent` to give along so that others can go on with the current span; None where there is none."""
        ...

    def close(self) -> None:
        """Send what is left, in bounded time."""
        ...


class _NoSpan:
    trace_id = None

    def rename(self, name: str) -> None:
        pass

    def add(self, attributes: Attributes) -> None:
        pass

    def fail(self, error: str) -> None:
        pass


class _NoTracer:
    on = False

    def __init__(self) -> None:
        self._nothing: AbstractContextManager[Span] = nullcontext(_NoSpan())

    def span(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: Carrier | None = None,
        attributes: Attributes | None = None,
        ago: float = 0.0,
    ) -> AbstractContextManager[Span]:
        del name, kind, parent, attributes, ago
        return self._nothing

    def record(self, name: str, seconds: float) -> None:
        pass

    def carried(self) -> str | None:
        return None

    def close(self) -> None:
        pass


NO_TRACER: Tracer = _NoTracer()
"""For processes that trace nothing, and for tests."""


def open_tracer(service: str, environ: Mapping[str, str] | None = None) -> Tracer:
    """The tracer of this process; `service` is its name where `OTEL_SERVICE_NAME` gives none.

    A process never fails for its traces: what is wrong is logged, and there are none.
    """
    given = os.environ if environ is None else environ
    if not _wanted(given):
        return NO_TRACER
    reason = _unusable(given)
    if reason is None:
        try:
            from common.otel import open_otel

            return open_otel(service, given)
        except ImportError:
            reason = "not installed: the extra `traces` of the package"
        except ValueError as error:
            reason = str(error)
    log.warning("tracing.off", reason=reason)
    return NO_TRACER


def _wanted(environ: Mapping[str, str]) -> bool:
    if _value(environ, "OTEL_SDK_DISABLED") == "true" or _value(environ, "OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(_value(environ, name) for name in _ENDPOINTS)


def _unusable(environ: Mapping[str, str]) -> str | None:
    """Why a collector that is named cannot be used; None where it can."""
    if _value(environ, "OTEL_TRACES_EXPORTER") not in ("", "otlp"):
        return "OTEL_TRACES_EXPORTER: only otlp and none are known"
    protocol = next((value for name in _PROTOCOLS if (value := _value(environ, name))), "http/protobuf")
    return None if protocol == "http/protobuf" else "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is known"


def _value(environ: Mapping[str, str], name: str) -> str:
    """An empty variable counts as one that is not set, as the specification of OpenTelemetry says."""
    return environ.get(name, "").strip().lower()
