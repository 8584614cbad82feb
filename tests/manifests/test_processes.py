"""The pods as processes: the words and variables of the manifests, with real servers where they point to.

What the kubelet does is done here in its order: init containers, the startup probe, the readiness probe, SIGTERM.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from client import Client
from tests.fixtures.network import unused_port
from tests.manifests.objects import Manifests, Object, Pod
from tests.manifests.redis_server import Server, Start

SLUICE = (sys.executable, "-m", "cli.main")  # the entry point of the image
ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
SERVING = ("gateway", "finalize", "metadata")


@dataclass(frozen=True)
class Site:
    """One overlay, and what stands in for the addresses that it names."""

    manifests: Manifests
    addresses: Mapping[str, str]
    log: Path

    def start(self, container: Object, port: int = 0) -> "subprocess.Popen[bytes]":
        """A container of ours as a process on a loopback port."""
        given = self.manifests.environment(container)
        environment = {name: value for name, value in given.items() if value is not None} | {
            name: value for name, value in self.addresses.items() if name in given
        }
        if "SLUICE_HEALTH_PORT" in environment:
            environment |= {"SLUICE_HEALTH_PORT": str(port), "SLUICE_HEALTH_HOST": "127.0.0.1"}
        words = [*SLUICE, *container["args"]]
        for option, value in (("--port", str(port)), ("--host", "127.0.0.1")):
            if option in words:
                words[words.index(option) + 1] = value
        with self.log.open("ab") as log:
            return subprocess.Popen(words, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log)


@pytest.fixture
def site(
    production_rwx: Manifests, postgres_url: str, start_redis: Start, tmp_path: Path
) -> Iterator[tuple[Site, Server]]:
    with start_redis([]) as redis:
        addresses = {
            "SLUICE_DATABASE_URL": postgres_url,
            "SLUICE_REDIS_URL": redis.url("sluice"),
            "SLUICE_STORAGE_URL": f"file://{tmp_path / 'volume'}",
        }
        yield Site(production_rwx, addresses, tmp_path / "log"), redis


@contextlib.contextmanager
def served(site: Site) -> Iterator[tuple[str, dict[str, "subprocess.Popen[bytes]"]]]:
    """All that serves, ready: the gateway's URL and the processes by component. They are ended, whatever happens."""
    ports = {component: unused_port() for component in SERVING}
    running = {component: site.start(site.manifests.pod(component).main, ports[component]) for component in SERVING}
    try:
        for component, process in running.items():
            for probe in ("startupProbe", "readinessProbe"):
                await_probe(site.manifests.pod(component), probe, ports[component], process, site.log)
        yield f"http://127.0.0.1:{ports['gateway']}", running
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def await_probe(pod: Pod, probe: str, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    url = f"http://127.0.0.1:{port}{pod.main[probe]['httpGet']['path']}"
    deadline = time.monotonic() + START_SECONDS
    while not _passes(url):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{pod.name}: {probe} does not pass:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)  # as the kubelet: again and again


def _passes(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=3).status_code == 200
    return False


def within(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_the_processes_of_the_manifests_serve_an_upload_and_end_in_order(
    site: tuple[Site, Server], tmp_path: Path
) -> None:
    here, redis = site
    (tmp_path / "sent").write_bytes(os.urandom(3_000_000))
    waiting = here.start(here.manifests.pod("gateway").spec["initContainers"][0])
    assert here.start(here.manifests.pod("migrate").main).wait(START_SECONDS) == 0
    assert waiting.wait(START_SECONDS) == 0

    with served(here) as (url, running), Client(url) as client:
        result = client.upload_file(tmp_path / "sent")
        file_id = result.file_id
        assert file_id is not None
        client.download(file_id, tmp_path / "received")
        assert within(lambda: client.get_file(file_id).detected_type is not None)  # the second kind of worker did it
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        assert {name: process.wait(START_SECONDS) for name, process in running.items()} == dict.fromkeys(SERVING, 0)

    assert (tmp_path / "received").read_bytes() == (tmp_path / "sent").read_bytes()
    assert redis.refusals() == set()


def test_the_doctor_of_the_manifests_says_what_is_missing_until_it_is_there(site: tuple[Site, Server]) -> None:
    here, _ = site
    doctor = here.manifests.pod("doctor").main
    assert here.start(doctor).wait(START_SECONDS) == 1
    assert "FAIL  database.schema" in here.log.read_text()
    assert here.start(here.manifests.pod("migrate").main).wait(START_SECONDS) == 0
    Path(here.addresses["SLUICE_STORAGE_URL"].removeprefix("file://")).mkdir()
    here.log.write_text("")
    assert here.start(doctor).wait(START_SECONDS) == 0, here.log.read_text()
