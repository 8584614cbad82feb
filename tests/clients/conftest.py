"""Released clients against the whole service. `--clients=full` runs every test in every place; without it runs the
short form: one place, and the tests that are not marked as long.

The clients are installed by `make clients`; what the machine lacks skips its tests with the reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.fleet import Fleet, fleet_of
from tests.clients.page_server import served
from tests.fixtures.s3 import S3Server, new_bucket

HERE = Path(__file__).parent
PLACES = ("local-1", "local-3", "s3-3")
SHORT = "local-2"
MIB = 1024**2
ARTIFACTS = HERE.parents[1] / ".cache" / "screenshots"
RUN_SECONDS = 110.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fleet" in metafunc.fixturenames:
        places = PLACES if metafunc.config.getoption("--clients") == "full" else (SHORT,)
        metafunc.parametrize("fleet", places, indirect=True, scope="session")


@pytest.fixture(scope="session")
def fleet(
    request: pytest.FixtureRequest, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Gateways and a worker in one of PLACES: where the bytes are, and how many gateways."""
    storage, gateways = request.param.split("-")
    folder = tmp_path_factory.mktemp(f"fleet-{request.param}")
    place = {"SLUICE_STORAGE_URL": f"file://{folder / 'storage'}", "SLUICE_DURABILITY": "none"}
    if storage == "s3":
        moto: S3Server = request.getfixturevalue("moto_server")
        place = {"SLUICE_STORAGE_URL": f"s3://{new_bucket(moto)}", **moto.settings}
    with fleet_of(int(gateways), place, redis_server, folder) as running:
        yield running


@pytest.fixture(scope="session")
def direct_fleet(
    versitygw_server: S3Server, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """One over a store that tells the checksums of parts, so that pages send them there."""
    place = {"SLUICE_STORAGE_URL": f"s3://{new_bucket(versitygw_server, for_pages=True)}", **versitygw_server.settings}
    with fleet_of(3, place, redis_server, tmp_path_factory.mktemp("fleet-direct")) as running:
        yield running


@dataclass(frozen=True)
class Sample:
    """A file on this machine: random bytes under a name that no other file has."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def size(self) -> int:
        return self.path.stat().st_size


MakeSample = Callable[[int], Sample]


@pytest.fixture
def sample(tmp_path: Path) -> MakeSample:
    """Make a file of so many bytes."""

    def make(size: int) -> Sample:
        content = os.urandom(size)
        path = tmp_path / f"{secrets.token_hex(6)}.bin"
        path.write_bytes(content)
        return Sample(path, hashlib.sha256(content).hexdigest())

    return make


@pytest.fixture(scope="session")
def node() -> str:
    """Path of node, with the clients installed."""
    binary = shutil.which("node")
    if binary is None:
        pytest.skip("no node on this machine")
    if not (HERE / "node_modules" / ".package-lock.json").exists():
        pytest.skip("the clients are not installed: `make clients`, where there is npm")
    return binary


@dataclass(frozen=True)
class Run:
    """A program that has ended: its exit status (negative: the signal) and the JSON lines that it printed."""

    status: int
    lines: list[dict[str, Any]]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


RunNode = Callable[..., Awaitable[Run]]


@pytest.fixture(scope="session")
def run_node(node: str) -> RunNode:
    """Run a program of this folder with one JSON argument."""

    async def run(program: str, **options: Any) -> Run:
        process = await asyncio.create_subprocess_exec(
            node, str(HERE / "programs" / program), json.dumps(options), stdout=asyncio.subprocess.PIPE
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), RUN_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Run(process.returncode, [json.loads(line) for line in output.splitlines()])

    return run


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser that speaks the protocol of Chromium's tools."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (binary := shutil.which(name)) is not None:
            return binary
    pytest.skip("no Chromium on this machine (Debian: chromium)")


@pytest.fixture(scope="session")
def pages(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the folder with the pages, of another origin than the service."""
    folder = tmp_path_factory.mktemp("pages")
    command = [node, str(HERE / "programs" / "bundle.js"), str(HERE / "pages"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=HERE)
    for page in HERE.glob("pages/*.html"):
        shutil.copy(page, folder)
    with served(folder) as url:
        yield url


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Path:
    """Where the picture of this test is kept, to be looked at."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    return ARTIFACTS / f"{request.node.name}.png"
