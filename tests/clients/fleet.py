"""Gateways behind a round-robin proxy, with a worker: what the clients of this folder speak to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.fixtures.network import unused_port
from tests.fixtures.nginx import nginx
from tests.fixtures.servers import running
from tests.fixtures.topology import Gateway

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds for a file to be published


@dataclass(frozen=True)
class Fleet:
    """What runs. Every request to `url` goes to the next gateway."""

    url: str
    gateways: list[Gateway]

    def listed(self, filename: str) -> dict[str, Any]:
        """The one file of this name, as soon as it is published."""
        deadline = time.monotonic() + PATIENCE
        while not (files := self._files(filename)):
            assert time.monotonic() < deadline, f"{filename} is not listed; jobs: {self._get('/v1/jobs')}"
            time.sleep(0.05)  # no client of another protocol knows a job that it could wait for
        (file,) = files
        return dict(file)

    def files(self, filename: str) -> list[dict[str, Any]]:
        return self._files(filename)

    def _files(self, filename: str) -> list[dict[str, Any]]:
        return list(self._get("/v1/files", filename=filename)["items"])

    def _get(self, path: str, **params: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}{path}", params=params, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


@contextmanager
def fleet_of(gateways: int, place: Mapping[str, str], redis_url: str, folder: Path) -> Iterator[Fleet]:
    """Run it with the settings in `place`, rows and logs in `folder`."""
    environment = {
        **os.environ,
        "SLUICE_DATABASE_URL": f"sqlite:///{folder / 'sluice.db'}",
        "SLUICE_REDIS_URL": redis_url,
        "SLUICE_REDIS_QUEUE_PREFIX": folder.name[:64],
        "SLUICE_HEALTH_PORT": "0",
        "SLUICE_CORS_ORIGINS": "*",
        "SLUICE_TRUSTED_PROXIES": "127.0.0.1",
        **place,
    }
    sluice = [sys.executable, "-m", "cli.main"]
    subprocess.run([*sluice, "migrate"], env=environment, cwd=ROOT, check=True, capture_output=True)
    with ExitStack() as parts:
        parts.enter_context(running([*sluice, "worker"], folder / "worker.log", lambda: True, env=environment))
        started = [Gateway(unused_port(), folder / f"gateway-{n}.log", environment) for n in range(gateways)]
        for gateway in started:
            gateway.start()
            parts.callback(gateway.end)
        proxy = parts.enter_context(nginx([gateway.port for gateway in started], in_turn=True))
        for gateway in started:
            gateway.await_ready()
        yield Fleet(proxy.url, started)
