"""A real Prometheus scrapes a real service: each panel of the dashboard has something to show."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from client import Client, SluiceApiError
from tests.fixtures.servers import running
from tests.fixtures.stack import RunningStack, StartStack
from tests.manifests.checks.metrics import promql

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboard.json"
PATIENCE = 60.0  # seconds
PROGRAM = shutil.which("prometheus")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no prometheus on PATH (Debian: apt-get install prometheus)")


def happen(url: str) -> None:
    """A file is published, a job fails for good, a request is refused."""
    with Client(url) as client:
        client.upload_bytes(b"good\n" * 1000, "good.txt")
        upload = client.create_upload({"filename": "wrong.txt", "size": 5, "digests": {"sha-256": "0" * 64}})
        client.put_chunk(upload.id, 0, b"other")
        assert client.wait_for_job(client.finalize(upload.id).id).state == "failed"
        with pytest.raises(SluiceApiError):
            client.get_upload("01920000-0000-7000-8000-0123456789ab")


@pytest.fixture
def stack(start_stack: StartStack) -> RunningStack:
    return start_stack(SLUICE_SWEEP_SECONDS="1")


@pytest.fixture
def prometheus(stack: RunningStack, free_port: int, tmp_path: Path) -> Iterator[httpx.Client]:
    """Scrapes gateway and worker twice a second."""
    worker = (stack.data / "run" / "worker-1.port").read_text().strip()
    targets = [stack.url.removeprefix("http://"), f"127.0.0.1:{worker}"]
    scraping = {"job_name": "sluice", "scrape_interval": "500ms", "static_configs": [{"targets": targets}]}
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": [scraping]}))
    assert PROGRAM is not None
    command = [PROGRAM, "--config.file=prometheus.yaml", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{free_port}", "--log.level=warn"]
    with httpx.Client(base_url=f"http://127.0.0.1:{free_port}", trust_env=False) as client:

        def is_ready() -> bool:
            try:
                return client.get("/-/ready").status_code == 200
            except httpx.TransportError:
                return False

        with running(command, tmp_path / "prometheus.log", is_ready):
            yield client


def ask(prometheus: httpx.Client, expression: str) -> list[dict[str, Any]]:
    answer = prometheus.post("/api/v1/query", data={"query": promql(expression)}).json()
    assert answer["status"] == "success", answer
    return [series["metric"] for series in answer["data"]["result"] if series["value"][1] != "NaN"]


def test_every_panel_has_something_to_show(prometheus: httpx.Client, stack: RunningStack) -> None:
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]
    asked = [(panel["title"], target) for panel in panels for target in panel["targets"]]
    deadline = time.monotonic() + PATIENCE
    waiting = asked
    while waiting and time.monotonic() < deadline:
        happen(stack.url)  # again and again: a rate needs something that goes on
        waiting = [(title, target) for title, target in waiting if not ask(prometheus, target["expr"])]
    assert waiting == []
    for _, target in asked:
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - {"pod"}  # Kubernetes adds it
        assert all(shown <= set(series) for series in ask(prometheus, target["expr"])), target
