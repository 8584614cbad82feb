"""`sluice fsck` as an operator runs it: what it prints, its exit status, and when it refuses to repair."""

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from common.attach import attach
from common.ids import new_id
from common.storage.base import UploadKey
from common.storage.local import LocalStorage
from tests.contract.storage_parts import beginning
from tests.integration.worker.rig import TENANT, Rig, close_rig, open_rig, worker_environment, worker_settings

CONTENT = b"c" * 2500
RunFsck = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(migrated_sqlite: Path, tmp_path: Path) -> dict[str, str]:
    shutil.copy(migrated_sqlite, tmp_path / "sluice.db")
    return worker_environment(f"sqlite:///{tmp_path / 'sluice.db'}", f"unix://{tmp_path}/no-redis", tmp_path)


@pytest.fixture
async def rig(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Rig]:
    """Puts uploads and files in; fsck needs no Redis."""
    url, redis = environment["SLUICE_DATABASE_URL"], environment["SLUICE_REDIS_URL"]
    rig = await open_rig(worker_settings(url, redis, tmp_path))
    yield rig
    await close_rig(rig)


@pytest.fixture
def fsck(environment: dict[str, str], tmp_path: Path) -> RunFsck:
    def run(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "cli.main", "fsck", *arguments]
        return subprocess.run(command, env={**environment, **settings}, capture_output=True, text=True, timeout=60)

    return run


async def orphan(rig: Rig) -> str:
    """Bytes of an upload that no row knows."""
    upload_id = new_id()
    await rig.storage.begin(*beginning(UploadKey(TENANT, upload_id), 10))
    return upload_id


def rows(outcome: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    return [json.loads(line) for line in outcome.stdout.splitlines()]


async def test_a_healthy_service_is_status_0(rig: Rig, fsck: RunFsck) -> None:
    await rig.upload(CONTENT)
    outcome = fsck()
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "0 findings\n", "")


async def test_without_repair_it_only_looks_and_is_status_1(rig: Rig, fsck: RunFsck) -> None:
    await rig.upload(CONTENT)
    upload_id = await orphan(rig)
    for _ in range(2):
        outcome = fsck()
        assert outcome.returncode == 1
        assert outcome.stdout == f"upload_bytes  default  {upload_id}\n1 finding; nothing was changed, see --repair\n"


async def test_with_repair_it_is_status_0_and_nothing_is_left(rig: Rig, fsck: RunFsck) -> None:
    kept = await rig.upload(CONTENT)
    upload_id = await orphan(rig)
    outcome = fsck("--repair")
    assert outcome.returncode == 0
    assert outcome.stdout == f"upload_bytes  default  {upload_id}\n1 finding, repaired\n"
    assert fsck().stdout == "0 findings\n"
    assert len(await rig.storage.receipts(UploadKey(TENANT, kept.id))) == 3


async def test_json_is_one_object_for_each_finding_and_nothing_else(rig: Rig, fsck: RunFsck) -> None:
    await rig.upload(CONTENT)
    ids = {await orphan(rig) for _ in range(3)}
    outcome = fsck("--json")
    assert outcome.returncode == 1
    assert {row["id"] for row in rows(outcome)} == ids
    assert rows(outcome)[0].keys() == {"problem", "tenant", "id", "repaired"}
    assert [row["repaired"] for row in rows(fsck("--json", "--repair"))] == [True] * 3
    assert fsck("--json").stdout == ""


async def test_a_storage_and_a_database_that_share_nothing_are_repaired_by_force_only(rig: Rig, fsck: RunFsck) -> None:
    """A new database over an old storage: every byte looks like an orphan."""
    upload_id = await orphan(rig)
    outcome = fsck("--repair")
    assert (outcome.returncode, outcome.stdout) == (1, f"upload_bytes  default  {upload_id}\n1 finding\n")
    assert "are SLUICE_STORAGE_URL and SLUICE_DATABASE_URL those of one service" in outcome.stderr
    assert await rig.storage.receipts(UploadKey(TENANT, upload_id)) == []
    assert fsck("--repair", "--force").returncode == 0
    assert fsck().stdout == "0 findings\n"


async def test_the_wrong_volume_is_refused(rig: Rig, fsck: RunFsck, tmp_path: Path) -> None:
    """An unmounted volume leaves an empty folder: no file may be marked for that."""
    assert isinstance(rig.storage, LocalStorage)
    await attach(rig.database, rig.storage)
    await rig.upload(CONTENT)
    (tmp_path / "empty").mkdir()
    outcome = fsck("--repair", "--force", SLUICE_STORAGE_URL=(tmp_path / "empty").as_uri())
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("sluice: ")
    assert list((tmp_path / "empty").iterdir()) == []


async def test_a_database_without_tables_is_one_line_and_status_1(fsck: RunFsck, tmp_path: Path) -> None:
    outcome = fsck(SLUICE_DATABASE_URL=f"sqlite:///{tmp_path / 'empty.db'}")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert "sluice migrate" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
