"""The caller's trace, where the caller has one: requests carry it, so that the server goes on with it.

OpenTelemetry is not needed. Who has a current span has imported it already, so nothing is imported for anybody else.
"""

from __future__ import annotations

import sys


def trace_headers() -> dict[str, str]:
    """`traceparent` of the current span, and `tracestate` if it has one (W3C Trace Context); empty without a span."""
    if "opentelemetry.trace" not in sys.modules:
        return {}
    from opentelemetry.trace.propagation import tracecontext

    carrier: dict[str, str] = {}
    tracecontext.TraceContextTextMapPropagator().inject(carrier)
    return carrier
