"""A real Prometheus scrapes a real service: each panel has something to show, alerts fire, and the runbook helps.

An alert's expression is the shipped one. What is left out is its `for`: five minutes of waiting show nothing.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from client import Client, SluiceApiError
from tests.fixtures.network import unused_port
from tests.fixtures.servers import running
from tests.fixtures.stack import RunningStack, stacks
from tests.integration.gateway.rig import until
from tests.manifests.checks.metrics import promql

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboard.json"
ALERTS = DEPLOY / "k8s" / "components" / "monitoring" / "alerts.yaml"
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


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with stacks(tmp_path_factory.mktemp("watched")) as start:
        yield start(SLUICE_SWEEP_SECONDS="1", SLUICE_MAX_ATTEMPTS="1")


@pytest.fixture(scope="module")
def prometheus(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Scrapes gateway and worker twice a second, and judges the alerts as often."""
    port, folder = unused_port(), tmp_path_factory.mktemp("prometheus")
    worker = (stack.data / "run" / "worker-1.port").read_text().strip()
    targets = [stack.url.removeprefix("http://"), f"127.0.0.1:{worker}"]
    found = {"targets": targets, "labels": {"namespace": "sluice"}}
    times = {"scrape_interval": "500ms", "scrape_timeout": "500ms"}
    settings = {
        "global": {"evaluation_interval": "500ms"},
        "scrape_configs": [{"job_name": "sluice", **times, "static_configs": [found]}],
        "rule_files": ["alerts.yaml"],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    (folder / "alerts.yaml").write_text(yaml.safe_dump(at_once(ALERTS)))
    assert PROGRAM is not None
    command = [PROGRAM, "--config.file=prometheus.yaml", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

        def is_ready() -> bool:
            try:
                return client.get("/-/ready").status_code == 200
            except httpx.TransportError:
                return False

        with running(command, folder / "prometheus.log", is_ready):
            yield client


def at_once(path: Path) -> dict[str, Any]:
    """The rules, without their waiting."""
    rules: dict[str, Any] = yaml.safe_load(path.read_text())["spec"]
    for group in rules["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule.pop("for", None)
    return rules


def until_alert(prometheus: httpx.Client, name: str, *, fires: bool = True) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        found = prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
        firing = {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}
        if (name in firing) == fires:
            return
        assert time.monotonic() < deadline, firing
        time.sleep(0.2)


def sluice(stack: RunningStack, *arguments: str, status: int = 0) -> str:
    """What an operator types, and reads."""
    env = {**os.environ, "SLUICE_URL": stack.url}
    command = [sys.executable, "-m", "cli.main", *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == status, done.stderr
    return done.stdout


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


def test_workers_that_stand_still_raise_an_alert_until_they_go_on(
    prometheus: httpx.Client, stack: RunningStack
) -> None:
    until_alert(prometheus, "SluiceNoWorker", fires=False)
    stack.signal(signal.SIGSTOP, "worker-1")
    try:
        until_alert(prometheus, "SluiceNoWorker")
    finally:
        stack.signal(signal.SIGCONT, "worker-1")
    until_alert(prometheus, "SluiceNoWorker", fires=False)


def test_a_storage_that_is_gone_raises_alerts_until_it_is_back(prometheus: httpx.Client, stack: RunningStack) -> None:
    alerts = ("SluiceNoGatewayReady", "SluiceNoWorkerReady")
    storage = stack.data / "storage"
    storage.rename(stack.data / "unmounted")
    for alert in alerts:
        until_alert(prometheus, alert)
    shutil.rmtree(storage, ignore_errors=True)
    (stack.data / "unmounted").rename(storage)
    for alert in alerts:
        until_alert(prometheus, alert, fires=False)


def test_a_dead_letter_raises_an_alert_and_the_runbook_brings_the_file_back(
    prometheus: httpx.Client, stack: RunningStack
) -> None:
    storage = stack.data / "storage"
    seen = 'sluice_jobs_failed_total{namespace="sluice",kind="finalize",code="attempts_exhausted"}'
    until(lambda: bool(ask(prometheus, seen)), PATIENCE)  # an increase needs a sample before it
    with Client(stack.url) as client:
        upload = client.create_upload({"filename": "late.txt", "size": 5})
        client.put_chunk(upload.id, 0, b"other")
        stack.signal(signal.SIGSTOP, "worker-1")
        job = client.finalize(upload.id)
        storage.rename(stack.data / "unmounted")
        stack.signal(signal.SIGCONT, "worker-1")
        failed = client.wait_for_job(job.id)
        assert failed.error is not None
        assert failed.error.code == "attempts_exhausted"

        until_alert(prometheus, "SluiceDeadLetters")
        shutil.rmtree(storage, ignore_errors=True)
        (stack.data / "unmounted").rename(storage)  # the cause is gone; now what the runbook says
        assert job.id in sluice(stack, "jobs", "--state", "failed")
        assert "attempts_exhausted" in sluice(stack, "job", job.id, status=1)
        sluice(stack, "jobs", "retry", job.id)

        assert client.wait_for_job(job.id).state == "succeeded"
