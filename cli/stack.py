"""What an embedded stack consists of: environment, commands, probes and stop bounds of its parts."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from cli.part import Part

GATEWAYS_STOP, WORKERS_STOP, REDIS_STOP = range(3)  # stop order: nobody loses what it still needs
DRAIN_SECONDS = 25.0  # default of SLUICE_DRAIN_SECONDS: chunks in flight of a stopping gateway
FINISH_SECONDS = 30.0  # running jobs of a stopping worker
STOP_MARGIN_SECONDS = 5.0  # on top of both, for closing what they hold
PROBE_TIMEOUT_SECONDS = 2.0
CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Stack:
    """The shape of one embedded stack. `listener_fd` is the socket every gateway accepts from."""

    data: Path
    run: Path
    url: str
    listener_fd: int
    gateways: int
    workers: int
    env: Mapping[str, str]

    def migrate_part(self) -> Part:
        """Describe the run that brings the schema up to date."""
        return Part("migrate", python_module("cli.main", "migrate"), self.env, STOP_MARGIN_SECONDS)

    def service_parts(self) -> list[Part]:
        """Describe the gateways and workers."""
        return [
            *(self._gateway(number) for number in range(1, self.gateways + 1)),
            *(self._worker(number) for number in range(1, self.workers + 1)),
        ]

    def _gateway(self, number: int) -> Part:
        # They share a socket, so the probe cannot choose which one answers; one that is not up yet takes no
        # connection, so an answer always comes from one that is.
        drain = float(self.env.get("SLUICE_DRAIN_SECONDS", DRAIN_SECONDS))
        return Part(
            name=f"gateway-{number}",
            command=python_module("gateway", "--fd", str(self.listener_fd)),
            env=self.env,
            stop_seconds=drain + STOP_MARGIN_SECONDS,
            ready=lambda: answers_ready(self.url),
            stop_order=GATEWAYS_STOP,
            pass_fds=(self.listener_fd,),
        )

    def _worker(self, number: int) -> Part:
        port_file = self.run / f"worker-{number}.port"
        return Part(
            name=f"worker-{number}",
            command=python_module("worker"),
            env={"SLUICE_HEALTH_PORT": "0", **self.env, "SLUICE_HEALTH_PORT_FILE": str(port_file)},
            stop_seconds=FINISH_SECONDS + STOP_MARGIN_SECONDS,
            ready=lambda: worker_ready(port_file),
            stop_order=WORKERS_STOP,
            leftovers=(port_file,),
        )


def python_module(name: str, *arguments: str) -> tuple[str, ...]:
    """Return the command for a module of ours; the working folder is not searched for it."""
    return (sys.executable, "-P", "-m", name, *arguments)


def parts_environment(
    inherited: Mapping[str, str], data: Path, *, redis_url: str | None, on_terminal: bool
) -> dict[str, str]:
    """Return the environment of every part: what is inherited wins, the embedded defaults fill the rest.

    `redis_url` is None where the operator brought a Redis. `data` is absolute.
    """
    defaults = {
        "SLUICE_DATABASE_URL": f"sqlite:///{data / 'sluice.db'}",
        "SLUICE_STORAGE_URL": (data / "storage").as_uri(),
    }
    if redis_url:
        defaults["SLUICE_REDIS_URL"] = redis_url
    if on_terminal:
        defaults["SLUICE_LOG_FORMAT"] = "console"
    env = {**defaults, **inherited}
    if CHECKOUT.name != "site-packages":  # a checkout runs without being installed
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(CHECKOUT), inherited.get("PYTHONPATH"))))
    return env


async def answers_ready(url: str) -> bool:
    """Whether `/readyz` under `url` answers 200."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=PROBE_TIMEOUT_SECONDS) as client:
            return (await client.get(f"{url}/readyz")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


async def worker_ready(port_file: Path) -> bool:
    """Whether the worker that wrote `port_file` answers `/readyz` 200 on that port of this machine."""
    port = written_port(port_file)
    return port is not None and await answers_ready(f"http://127.0.0.1:{port}")


def written_port(port_file: Path) -> int | None:
    """Return the port number in `port_file`, or None while there is none."""
    try:
        return int(port_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
