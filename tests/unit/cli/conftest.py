"""The command line as a person uses it, against the stand-in server of the client's tests."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from tests.unit.client.conftest import make_file, server, stand_in
from tests.unit.client.stand_in import StandIn

__all__ = ["make_file", "server", "stand_in"]


@dataclass(frozen=True)
class Outcome:
    """What a command left on the terminal."""

    status: int | str | None
    out: str
    err: str

    def objects(self) -> list[dict[str, Any]]:
        """Each line of stdout as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


Sluice = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def environment(stand_in: StandIn, tmp_path: Path) -> dict[str, str]:
    """Variables that point every command at the stand-in and at a state folder of this test."""
    return {**os.environ, "SLUICE_URL": stand_in.url, "SLUICE_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def sluice(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sluice:
    """Runs one command: `sluice("put", path)`."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["sluice", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Outcome(ended.value.code, printed.out, printed.err)

    return run
