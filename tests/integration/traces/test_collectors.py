"""Spans reach a collector by OTLP; one that refuses or hangs costs spans and never a request."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import httpx
import pytest

from common.otel import CLOSE_SECONDS
from common.states import JobState
from common.tracing import open_tracer
from tests.fixtures.traces import collector, hanging_collector, silent_listener, url_of
from tests.integration.gateway.processes import part
from tests.integration.gateway.rig import serve, until
from tests.integration.worker.rig import Rig
from tests.integration.worker.rig import until as until_async

REQUESTS = 60
QUEUE = 16  # spans: fewer than the requests


@contextmanager
def refusing() -> Iterator[str]:
    with collector(status=400) as kept:
        yield kept.url


@contextmanager
def busy() -> Iterator[str]:
    with collector(status=503) as kept:
        yield kept.url


CLOSED = "http://127.0.0.1:9"  # discard: nobody listens there
COLLECTORS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "refuses": refusing,
    "busy": busy,
    "hangs": hanging_collector,
    "away": lambda: nullcontext(CLOSED),
}


@pytest.mark.parametrize("kind", COLLECTORS)
def test_a_bad_collector_costs_no_request(
    kind: str, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE))
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    with COLLECTORS[kind]() as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        tracer = open_tracer("sluice-test")
        with serve(tmp_path, environment, tracer) as gateway:
            for _ in range(REQUESTS):
                assert gateway.http.get("/v1/limits").status_code == 200
        began = time.monotonic()
        tracer.close()
        assert time.monotonic() - began < CLOSE_SECONDS + 3.0  # for a machine that is busy with other tests


def test_what_does_not_fit_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", str(QUEUE))
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    with hanging_collector() as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        tracer = open_tracer("sluice-test")
        for _ in range(50 * QUEUE):
            with tracer.span("work"):
                pass
        [processor] = tracer._provider._active_span_processor._span_processors  # type: ignore[attr-defined]
        assert len(processor._batch_processor._queue) <= QUEUE
        tracer.close()


def test_a_gateway_sends_its_last_spans_before_it_ends(environment: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    with collector() as kept:
        traced = environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": kept.url, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        traced |= {"SLUICE_LOG_LEVEL": "info", "OTEL_SERVICE_NAME": "shop-uploads"}
        with part("gateway", "--port", "0", environment=traced, log=log) as process:
            until(lambda: b"gateway.listening" in log.read_bytes())
            address = log.read_text().partition('"address": "')[2].partition('"')[0]
            httpx.get(f"http://{address}/v1/limits", trust_env=False).raise_for_status()
            process.terminate()
            assert process.wait(20) == 0
        assert kept.taken == [("shop-uploads", "GET /v1/limits")]


async def test_a_worker_asks_to_send_its_last_spans_and_waits_for_no_answer(
    environment: dict[str, str], plain_rig: Rig, tmp_path: Path
) -> None:
    log, port = tmp_path / "worker.log", tmp_path / "port"
    job = await plain_rig.finalize(await plain_rig.upload(b"x"))

    async def ended() -> bool:
        return (await plain_rig.job(job.id)).state == JobState.SUCCEEDED

    with silent_listener() as listener:
        traced = environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": url_of(listener), "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        with part("worker", environment=traced | {"SLUICE_HEALTH_PORT_FILE": str(port)}, log=log) as process:
            await until_async(ended)
            process.terminate()
            assert process.wait(20) == 0
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(5) == b"POST "
