"""Positioned writes that go on after short ones, and the room that must be left."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from common.errors import InsufficientStorage
from common.storage.durable import Folders, require_space, write_at
from tests.contract.storage_parts import random_bytes


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def test_more_buffers_than_one_call_takes_are_written(file: int) -> None:
    content = random_bytes(3000)
    assert write_at(file, [content[i : i + 1] for i in range(3000)], 5) == 3000
    assert os.pread(file, 4000, 0) == bytes(5) + content


def test_a_short_write_is_gone_on_with(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwritev

    def short(descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
        return whole(descriptor, [b"".join(buffers)[:7]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    content = random_bytes(100)
    assert write_at(file, [content[:10], b"", content[10:50], content[50:]], 3) == 100
    assert os.pread(file, 200, 0) == bytes(3) + content


def test_nothing_is_written_in_no_time(file: int) -> None:
    assert write_at(file, [], 0) == 0
    assert write_at(file, [b"", b""], 0) == 0


def test_the_reserve_is_kept_free(tmp_path: Path) -> None:
    state = os.statvfs(tmp_path)
    require_space(tmp_path, 1, 0)
    with capture_logs() as logged, pytest.raises(InsufficientStorage) as refused:
        require_space(tmp_path, 7, 2 * state.f_bavail * state.f_frsize)
    assert refused.value.extras == {"needed_bytes": 7}
    assert re.findall("[0-9]+", refused.value.detail) == ["7"]  # what is free is for the log only
    assert logged[0]["event"] == "storage.no_space"
    assert logged[0]["free_bytes"] > 0


def test_new_folders_are_synced_up_to_the_root_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("common.storage.durable.sync_folder", synced.append)
    root = tmp_path / "root"
    folders = Folders(root)
    folders.ensure(root / "a" / "b", durable=True)
    folders.ensure(root / "a" / "b", durable=True)
    assert synced == [root / "a" / "b", root / "a", root, tmp_path]
