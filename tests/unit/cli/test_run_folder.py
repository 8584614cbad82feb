"""The run folder: one stack per data folder, and small files that are always whole."""

import os
from pathlib import Path

import pytest

from cli.run_folder import DataFolderBusyError, RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "data" / "run")


def test_a_held_data_folder_names_the_process_that_holds_it(folder: RunFolder) -> None:
    with folder.locked(), pytest.raises(DataFolderBusyError) as refused, RunFolder(folder.path).locked():
        pass
    assert str(folder.path.parent) in str(refused.value)
    assert f"(process {os.getpid()})" in str(refused.value)


def test_a_data_folder_can_be_held_again_afterwards(folder: RunFolder) -> None:
    with folder.locked():
        pass
    with folder.locked():
        assert (folder.path / "up.lock").read_text() == str(os.getpid())


def test_the_refused_one_clears_nothing(folder: RunFolder) -> None:
    with folder.locked():
        folder.write("redis.pid", "17")
        with pytest.raises(DataFolderBusyError), RunFolder(folder.path).locked():
            pass
        assert (folder.path / "redis.pid").read_text() == "17\n"


def test_the_files_of_a_killed_run_are_cleared(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    for name in ("redis.pid", "worker-1.port", "url", ".redis.pid.new"):
        folder.write(name, "17")
    with folder.locked():
        assert [path.name for path in folder.path.iterdir()] == ["up.lock"]


def test_a_written_file_is_replaced_as_a_whole(folder: RunFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.write("redis.pid", "1717171717")
    with (folder.path / "redis.pid").open() as reader:
        folder.write("redis.pid", "5")
        assert reader.read() == "1717171717\n"
    assert [path.name for path in folder.path.iterdir()] == ["redis.pid"]


def test_removing_an_absent_file_is_no_error(folder: RunFolder) -> None:
    folder.remove("redis.pid")
