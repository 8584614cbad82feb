"""What an embedded stack consists of: environment, commands, probes and stop bounds of its parts."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from cli.embedded_redis import NO_ANSWER
from cli.listener import base_url
from cli.part import Part
from common.settings import Settings

GATEWAYS_STOP, WORKERS_STOP, REDIS_STOP = range(3)  # stop order: nobody loses what it still needs
STOP_MARGIN_SECONDS = 5.0  # on top of the drain times of the settings, for closing what a part holds
WORKER_STOP_MARGIN_SECONDS = 25.0  # a worker also hands running jobs back and ends its poll loops, each bounded
PROBE_TIMEOUT_SECONDS = 2.0
CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Stack:
    """The shape of one embedded stack.

    `listener_fd` is the socket every gateway accepts from, `probes` has one more for each, which only the supervisor
    knows: on the shared one it cannot choose who answers. `env` is the environment of every part and `settings` what
    it means.
    """

    data: Path
    run: Path
    url: str
    listener_fd: int
    probes: Sequence[socket.socket]
    workers: int
    env: Mapping[str, str]
    settings: Settings

    def migrate_part(self) -> Part:
        """Describe the run that brings the schema up to date."""
        return Part("migrate", python_module("cli.main", "migrate"), self.env, STOP_MARGIN_SECONDS)

    def service_parts(self) -> list[Part]:
        """Describe the gateways and workers."""
        return [
            *(self._gateway(number) for number in range(1, len(self.probes) + 1)),
            *(self._worker(number) for number in range(1, self.workers + 1)),
        ]

    def _gateway(self, number: int) -> Part:
        probe = self.probes[number - 1]
        url = base_url(probe)
        http = self.settings.http
        return Part(
            name=f"gateway-{number}",
            command=python_module("gateway", "--fd", str(self.listener_fd), "--probe-fd", str(probe.fileno())),
            env=self.env,
            stop_seconds=http.shutdown_delay + http.drain_seconds + STOP_MARGIN_SECONDS,
            unready=lambda: unready(url),
            alive=lambda: unready(url, "livez"),
            stop_order=GATEWAYS_STOP,
            pass_fds=(self.listener_fd, probe.fileno()),
        )

    def _worker(self, number: int) -> Part:
        port_file = self.run / f"worker-{number}.port"
        return Part(
            name=f"worker-{number}",
            command=python_module("worker"),
            env={"SLUICE_HEALTH_PORT": "0", **self.env, "SLUICE_HEALTH_PORT_FILE": str(port_file)},
            stop_seconds=self.settings.worker.worker_drain_seconds + WORKER_STOP_MARGIN_SECONDS,
            unready=lambda: worker_unready(port_file),
            alive=lambda: worker_unready(port_file, "livez"),
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


async def unready(url: str, probe: str = "readyz") -> str:
    """Say why `probe` under `url` does not answer 200; nothing if it does."""
    plain = httpx.AsyncHTTPTransport(verify=False)  # no certificates are read, which takes a tenth of a second
    try:
        async with httpx.AsyncClient(transport=plain, timeout=PROBE_TIMEOUT_SECONDS) as client:
            answer = await client.get(f"{url}/{probe}")
    except httpx.HTTPError:
        return NO_ANSWER
    return "" if answer.status_code == httpx.codes.OK else f"{answer.status_code} {reasons_in(answer)}"


def reasons_in(answer: httpx.Response) -> str:
    """The reasons a part of ours gives for not being ready; the body of any other answer as it is."""
    try:
        return ", ".join(answer.json()["reasons"])
    except (ValueError, KeyError, TypeError):
        return answer.text


async def worker_unready(port_file: Path, probe: str = "readyz") -> str:
    """Say the same of the worker that writes its health port, on this machine, to `port_file`."""
    port = written_port(port_file)
    return "no health port yet" if port is None else await unready(f"http://127.0.0.1:{port}", probe)


def written_port(port_file: Path) -> int | None:
    """Return the port number in `port_file`, or None while there is none."""
    try:
        return int(port_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
