"""What has to be on the disk before something else may be believed; real power cuts are in tests/faults/power."""

import os
from pathlib import Path

import pytest

from common.storage.base import UploadKey
from common.storage.identity import MARK, Identity
from common.storage.layout import UploadPaths
from tests.unit.common.storage.conftest import OpenLocal


def test_the_mark_of_a_storage_is_durable_before_it_has_its_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        if not (root / MARK).exists():
            synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)

    Identity(root).initialise("some-id")

    assert [name.startswith(MARK) for name in synced] == [True]


async def test_an_aborted_upload_cannot_come_back_after_a_power_loss(
    opened: OpenLocal, received: UploadKey, paths: UploadPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[Path, bool]] = []

    def recording(folder: Path) -> None:
        synced.append((folder, paths.folder.exists() or paths.dying.exists()))

    monkeypatch.setattr("common.storage.folder.sync_folder", recording)

    await opened(durability="chunk").abort(received)

    assert synced == [(paths.folder.parent, False)]


async def test_an_upload_that_is_gone_already_is_synced_away_too(
    opened: OpenLocal, received: UploadKey, paths: UploadPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removed it may have died before it could sync."""
    await opened().abort(received)
    synced: list[Path] = []
    monkeypatch.setattr("common.storage.folder.sync_folder", synced.append)

    await opened(durability="chunk").abort(received)

    assert synced == [paths.folder.parent]
