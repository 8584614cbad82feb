"""Resume states on disk."""

import os
import time
from pathlib import Path

import pytest

from client.state import FileStateStore, ResumeState, state_key

KEY = "0" * 64
STATE = ResumeState("key-1", "upload-1", {"filename": "ä.bin", "size": 3})


def test_a_saved_state_is_read_by_another_store(tmp_path: Path) -> None:
    FileStateStore(tmp_path / "new").save("k", STATE)
    assert FileStateStore(tmp_path / "new").load("k") == STATE


def test_an_unknown_key_is_no_state(store: FileStateStore) -> None:
    assert store.load("k") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"upload_id": "x"}', "\ud800"])
def test_an_unreadable_state_is_no_state(store: FileStateStore, text: str) -> None:
    store.folder.mkdir()
    (store.folder / "k.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert store.load("k") is None


def test_deleting_twice_is_fine(store: FileStateStore) -> None:
    store.save("k", STATE)
    store.delete("k")
    store.delete("k")
    assert store.load("k") is None


def test_nothing_but_the_state_is_left_in_the_folder(store: FileStateStore) -> None:
    store.save("k", STATE)
    store.save("k", ResumeState("key-2"))
    assert [path.name for path in store.folder.iterdir()] == ["k.json"]


def test_only_the_owner_can_read_a_state(store: FileStateStore) -> None:
    store.save("k", STATE)
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert (store.folder / "k.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", [f"{KEY}.json", f".{KEY}.0123abcd"])
def test_pruning_removes_what_is_old(store: FileStateStore, name: str) -> None:
    old = aged(store, name, 100)
    young = aged(store, f"{'1' * 64}.json", 1)
    store.prune(50)
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.parametrize("name", ["package.json", f"{KEY}.json.orig", ".profile", f"{KEY[:-1]}.json"])
def test_pruning_touches_no_file_of_other_people(store: FileStateStore, name: str) -> None:
    stranger = aged(store, name, 100)
    store.prune(50)
    assert stranger.exists()


def test_pruning_without_a_folder_is_fine(store: FileStateStore) -> None:
    store.prune(0)
    assert not store.folder.exists()


def test_what_cannot_be_pruned_stays(store: FileStateStore) -> None:
    (store.folder / f"{KEY}.json").mkdir(parents=True)
    store.prune(-100)
    assert (store.folder / f"{KEY}.json").is_dir()


def aged(store: FileStateStore, name: str, seconds: float) -> Path:
    store.folder.mkdir(exist_ok=True)
    path = store.folder / name
    path.touch()
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_the_key_depends_on_server_path_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    keys = {
        state_key("http://a", path, 1, 2),
        state_key("http://b", path, 1, 2),
        state_key("http://a", tmp_path / "b", 1, 2),
        state_key("http://a", path, 9, 2),
        state_key("http://a", path, 1, 9),
    }
    assert len(keys) == 5
    assert state_key("http://a/", path, 1, 2) in keys
