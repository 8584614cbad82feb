"""Which folder a URL names."""

from pathlib import Path

import pytest

from common.settings import StorageSettings
from common.storage import open_storage


@pytest.mark.parametrize("text", ["{folder}/deep/er", "{folder}/with space%20", "relative/folder"])
async def test_a_url_names_a_folder_literally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = text.format(folder=tmp_path)
    storage = open_storage(StorageSettings(storage_url=f"file://{path}", min_free_bytes=0))
    await storage.check_writable()
    await storage.close()
    assert (tmp_path / path).is_dir()


async def test_opening_touches_no_disk(tmp_path: Path) -> None:
    await open_storage(StorageSettings(storage_url=f"file://{tmp_path / 'absent'}")).close()
    assert not any_in(tmp_path)


def any_in(folder: Path) -> bool:
    return any(folder.iterdir())
