"""Logs and metrics: set-up, and the catalogue of every metric. A metric that is not listed here does not exist.

Logs are structlog events: a constant name (`upload.finalized`) with fields. Request and job ids travel in context
variables, so that every line of a request or job carries them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from common.settings import LogSettings

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Every metric of one process, on a registry of its own. `docs/metrics.md` is generated from this class."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter that nobody asks for
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        new: Any = {"registry": self.registry, "namespace": "sluice"}
        timed: Any = {"buckets": _SECONDS, **new}
        self._of_both(new, timed)
        self._of_gateway(new, timed)
        self._of_worker(new, timed)
        self._of_the_service(new)

    def _of_both(self, new: Any, timed: Any) -> None:
        self.build_info = Gauge("build_info", "Always 1; its labels say what runs here.", ("part", "version"), **new)
        self.ready = Gauge("ready", "1 if `/readyz` would answer 200 at the moment of the scrape.", ("part",), **new)
        self.bell_failed = Counter("bell_failed", "Rings that Redis did not take.", ("kind",), **new)
        self.loop_lag_seconds = Histogram(
            "event_loop_lag_seconds", "How much later than asked the event loop comes back.", **timed
        )
        self.database_connections = Gauge("database_connections", "Connections in use.", **new)
        self.database_pool_size = Gauge("database_pool_size", "Connections that the process may have.", **new)

    def _of_gateway(self, new: Any, timed: Any) -> None:
        self.requests = Counter("http_requests", "Requests by route and status.", ("method", "route", "status"), **new)
        self.request_seconds = Histogram(
            "http_request_seconds", "Time from the request head to the end of the answer.", ("route",), **timed
        )
        self.requests_running = Gauge("http_requests_running", "Requests in flight, held polls apart.", **new)
        self.polls_waiting = Gauge("http_polls_waiting", "Polls that are held until their job ends.", **new)
        self.refused = Counter("refused", "Refusals by problem code.", ("code",), **new)
        self.received_bytes = Counter("received_bytes", "Bytes of chunks and files taken in.", **new)
        self.sent_bytes = Counter("sent_bytes", "Bytes of files sent out.", **new)
        self.intake_bytes = Gauge("intake_bytes", "Bytes of request bodies in memory, unread ones as well.", **new)

    def _of_worker(self, new: Any, timed: Any) -> None:
        self.jobs = Counter("jobs", "Ended attempts of jobs by kind and outcome.", ("kind", "outcome"), **new)
        self.jobs_failed = Counter("jobs_failed", "Jobs that have failed for good.", ("kind", "code"), **new)
        self.job_seconds = Histogram("job_seconds", "Time of one attempt.", ("kind",), **timed)
        self.job_wait_seconds = Histogram("job_wait_seconds", "Time from due to start of a job.", ("kind",), **timed)
        self.job_turnaround_seconds = Histogram(
            "job_turnaround_seconds", "Time from acceptance to success of a job, over all attempts.", ("kind",), **timed
        )
        self.jobs_running = Gauge("jobs_running", "Jobs that this worker runs now.", ("kind",), **new)
        self.lease_lost = Counter("lease_lost", "Jobs whose lease another worker may hold.", **new)
        self.swept = Counter("swept", "What the sweep repaired or removed.", ("reason",), **new)
        self.last_sweep = Gauge(
            "last_sweep_timestamp_seconds",
            "When all steps of a part of the sweep last succeeded, as Unix time.",
            ("part",),
            **new,
        )
        self.sealed_bytes = Counter("sealed_bytes", "Bytes of published files.", **new)
        self.hashed_ahead_bytes = Counter("hashed_ahead_bytes", "Bytes hashed before their file was finalized.", **new)
        self.scrubbed_bytes = Counter("scrubbed_bytes", "Bytes of ready files that were read again.", **new)
        self.files_corrupt = Counter("files_corrupt", "Files whose bytes are not what was published.", **new)
        self.batch_rows = Histogram(
            "metadata_batch_rows",
            "Metadata results written in one transaction.",
            buckets=(1, 2, 5, 10, 20, 50, 100),
            **new,
        )

    def _of_the_service(self, new: Any) -> None:
        """Measured by workers for all of them: the maximum counts, not the sum."""
        self.oldest_queued_seconds = Gauge(
            "oldest_queued_seconds", "Age of the oldest job that is due and not started.", ("kind",), **new
        )
        self.oldest_unfinished_seconds = Gauge(
            "oldest_unfinished_seconds", "Time since the oldest unfinished job was accepted.", ("kind",), **new
        )
        self.jobs_queued = Gauge("jobs_queued", "Jobs that wait: due now, or later.", ("kind", "due"), **new)
        self.uploads_unfinished = Gauge(
            "uploads_unfinished", "Uploads that take chunks or are being verified.", ("state",), **new
        )
        self.storage_free_bytes = Gauge("storage_free_bytes", "Room that is left on a volume.", ("backend",), **new)

    def render(self) -> bytes:
        """The text exposition format of Prometheus."""
        return generate_latest(self.registry)


def show_zero(counter: Counter, series: Iterable[dict[str, str]]) -> None:
    """Show a counter as 0 under each of these labels."""
    for labels in series:
        counter.labels(**labels)


def configure_logging(settings: LogSettings) -> None:
    """Send structlog and the standard library's logs to stderr in one form. Called once per process."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any
    if settings.log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        # plain: the default shows local variables, and those hold passwords
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # line and end in one write
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("arq", "uvicorn", "alembic"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A lazy logger: its set-up is the one in force when it is used."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(module=name)
    return logger
