"""The span of one attempt: a part of the trace in which the job was made.

The conventions for messaging link a consumer's span to what it works on where it takes many messages at once, and
allow it to be a child where it takes one. An attempt is about one job row, so it is a child, and so is each retry.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars

from common.tracing import Attributes, Span, Tracer
from worker.lease import Hold
from worker.retry import as_ours

GOOD = frozenset({"succeeded", "given_back"})  # outcomes of an attempt that are no error


@contextmanager
def attempt_span(tracer: Tracer, hold: Hold) -> Iterator[Span]:
    """Begins with the claim, which has just succeeded; its log lines carry the id of the trace."""
    job = hold.job
    claiming = max(0.0, time.monotonic() - hold.renewed_at)
    parent = {"traceparent": job.trace_context} if job.trace_context else {}
    attributes: Attributes = {
        "messaging.system": "arq",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": job.kind,
        "messaging.message.id": job.id,
        "sluice.upload_id": job.upload_id,
        "sluice.attempt": job.attempts,
    }
    name = f"process {job.kind}"
    with tracer.span(name, kind="consumer", parent=parent, attributes=attributes, ago=claiming) as span:
        tracer.record("claim", claiming)
        if span.trace_id is None:
            yield span
            return
        with bound_contextvars(trace_id=span.trace_id):
            yield span


def tell(span: Span, outcome: str, error: BaseException | None) -> None:
    """How the attempt ended, in the words of the metrics and of the error catalogue."""
    span.add({"sluice.outcome": outcome})
    if outcome not in GOOD:
        span.fail(outcome if error is None or outcome == "lease_lost" else as_ours(error).code)
