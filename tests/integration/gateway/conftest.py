"""One gateway and one worker for the folder; gateways with settings of their own for the tests that need them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from common.db.migrate import migrate
from tests.fixtures.servers import running
from tests.integration.gateway.rig import Gateway, environment_of, serve

OpenGateway = Callable[..., Gateway]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("schema") / "sluice.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="package")
def gateway(empty_database: Path, tmp_path_factory: pytest.TempPathFactory, redis_server: str) -> Iterator[Gateway]:
    """The gateway that most tests share, with a worker behind it. What other tests left in it is no concern."""
    folder = tmp_path_factory.mktemp("gateway")
    shutil.copy(empty_database, folder / "sluice.db")
    environment = environment_of(folder, redis_server, REDIS_QUEUE_PREFIX="gateway-tests")
    ready = folder / "health.port"
    worker = environment | {"SLUICE_HEALTH_PORT_FILE": str(ready)}
    with serve(folder, environment) as opened, _environment(worker):
        command = [sys.executable, "-m", "worker"]
        with running(command, folder / "worker.log", ready.exists):
            yield opened


@pytest.fixture
def open_gateway(empty_database: Path, tmp_path: Path, redis_server: str) -> Iterator[OpenGateway]:
    """Opens a gateway of the test's own, without a worker; keyword arguments are settings."""
    with ExitStack() as stack:

        def opener(**settings: str) -> Gateway:
            if not (tmp_path / "sluice.db").exists():
                shutil.copy(empty_database, tmp_path / "sluice.db")
            prefix = {"REDIS_QUEUE_PREFIX": tmp_path.name[:64]}
            environment = environment_of(tmp_path, redis_server, **{**prefix, **settings})
            return stack.enter_context(serve(tmp_path, environment))

        yield opener


@pytest.fixture
def own_gateway(open_gateway: OpenGateway) -> Gateway:
    """A gateway that nobody else uses, with default settings and no worker."""
    return open_gateway()


@pytest.fixture
def gateway_process(empty_database: Path, tmp_path: Path, redis_server: str) -> Iterator[Callable[..., Gateway]]:
    """Starts `python -m gateway` on a free port."""
    raise RuntimeError


def _environment(variables: dict[str, str]) -> pytest.MonkeyPatch:  # type: ignore[return]
    del variables, os, subprocess
