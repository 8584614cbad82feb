"""How the banner says to run the command."""

from pathlib import Path

import pytest

from cli.invocation import invocation


@pytest.fixture
def bin_folder(folder: Path) -> Path:
    """`.venv/bin` below the current folder, with a `sluice` in it."""
    made = folder / ".venv" / "bin"
    made.mkdir(parents=True)
    (made / "sluice").touch()
    return made


def test_a_command_below_the_current_folder_is_short(bin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [".venv/bin/sluice", "up"])
    assert invocation() == ".venv/bin/sluice"


def test_a_command_elsewhere_is_absolute(bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [str(bin_folder / "sluice"), "up"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert invocation() == str(bin_folder / "sluice")


def test_a_module_that_is_run_finds_the_command_beside_its_python(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/cli/main.py", "up"])
    monkeypatch.setattr("sys.executable", str(bin_folder / "python"))
    assert invocation() == ".venv/bin/sluice"


def test_a_shell_does_not_look_for_a_command_of_this_very_folder(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["./sluice", "up"])
    monkeypatch.chdir(bin_folder)
    assert invocation() == "./sluice"


def test_spaces_are_quoted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "my bin").mkdir()
    (folder / "my bin" / "sluice").touch()
    monkeypatch.setattr("sys.argv", ["my bin/sluice", "up"])
    assert invocation() == "'my bin/sluice'"


def test_where_nothing_is_installed_the_module_is_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/cli/main.py", "up"])
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    assert invocation() == f"{folder}/python -m cli.main"
