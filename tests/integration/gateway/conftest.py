"""One gateway and one worker for the folder; gateways with settings of their own for the tests that need them."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog

from common.db.migrate import migrate
from tests.fixtures.s3 import S3Server
from tests.integration.gateway.processes import part
from tests.integration.gateway.rig import Gateway, environment_of, serve, until

OpenGateway = Callable[..., Gateway]


@pytest.fixture(scope="package", autouse=True)
def quiet_logs() -> Iterator[None]:
    """The gateways of this folder run in our process: a line for each of their requests helps nobody."""
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure([plain], structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("schema") / "sluice.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def storage_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Of the storage behind what tests share: none for a folder; a bucket with GATEWAY_STORAGE=s3 (`make test-s3`)."""
    if os.environ.get("GATEWAY_STORAGE") != "s3":
        return {}
    server: S3Server = request.getfixturevalue("s3_server")
    place = {"STORAGE_URL": f"s3://{request.getfixturevalue('s3_bucket')}/gateway"}
    prefix = "SLUICE_"  # the credentials are in the environment already
    return place | {
        name.removeprefix(prefix): value for name, value in server.settings.items() if name.startswith(prefix)
    }


@pytest.fixture(scope="package")
def gateway(
    empty_database: Path,
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: str,
    storage_settings: dict[str, str],
) -> Iterator[Gateway]:
    """The gateway that most tests share, with a worker behind it. What other tests left in it is no concern."""
    folder = tmp_path_factory.mktemp("gateway")
    shutil.copy(empty_database, folder / "sluice.db")
    environment = environment_of(folder, redis_server, REDIS_QUEUE_PREFIX="gateway-tests", **storage_settings)
    port_file = folder / "health.port"
    worker = environment | {"SLUICE_HEALTH_PORT_FILE": str(port_file)}
    with serve(folder, environment) as opened, part("worker", environment=worker, log=folder / "worker.log"):
        until(port_file.exists)
        yield opened


@pytest.fixture
def open_gateway(empty_database: Path, tmp_path: Path, redis_server: str) -> Iterator[OpenGateway]:
    """Opens a gateway of the test's own, without a worker; keyword arguments are settings."""
    with ExitStack() as stack:

        def opener(**settings: str) -> Gateway:
            if not (tmp_path / "sluice.db").exists():
                shutil.copy(empty_database, tmp_path / "sluice.db")
            prefix = {"REDIS_QUEUE_PREFIX": tmp_path.name[:64]}
            return stack.enter_context(
                serve(tmp_path, environment_of(tmp_path, redis_server, **{**prefix, **settings}))
            )

        yield opener


@pytest.fixture
def own_gateway(open_gateway: OpenGateway) -> Gateway:
    """A gateway that nobody else uses, with default settings and no worker."""
    return open_gateway()
