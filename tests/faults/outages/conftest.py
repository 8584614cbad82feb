"""Data folders, file systems that can be filled, and a PostgreSQL of our own."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.outages.own_postgres import OwnPostgres, own_postgres
from tests.fixtures.postgres import Postgres

MountSmall = Callable[[int], Path]


@pytest.fixture
def folder(tmp_path: Path, migrated_sqlite: Path) -> Path:
    """A data folder with a database at the newest schema."""
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(migrated_sqlite, data / "sluice.db")
    return data


@pytest.fixture(scope="module")
def mount_small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MountSmall]:
    """Mounts file systems of so many MiB; unmounted at the end of the module."""
    with ExitStack() as mounted:

        def mount(mebibytes: int) -> Path:
            place = tmp_path_factory.mktemp("small")
            command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
            if subprocess.run(command, capture_output=True).returncode != 0:
                pytest.skip("mounting a small file system (tmpfs) needs root")
            mounted.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
            return place

        yield mount


@pytest.fixture(scope="module")
def cluster(postgres_server: Postgres) -> Iterator[OwnPostgres]:
    """A PostgreSQL that nobody outside the module uses."""
    with own_postgres(postgres_server) as own:
        yield own
