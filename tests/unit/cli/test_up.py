"""`sluice up` before anything is started."""

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Sluice


@pytest.mark.parametrize(("name", "value"), [("SLUICE_NO_SUCH_THING", "1"), ("SLUICE_DURABILITY", "sometimes")])
def test_wrong_settings_leave_no_folder_behind(
    sluice: Sluice, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    outcome = sluice("up", "--port", "0", "--data-dir", "d3")
    assert (outcome.status, outcome.err.startswith(f"sluice up: {name}: ")) == (1, True)
    assert list(folder.iterdir()) == []


def test_a_missing_redis_server_leaves_no_folder_behind(
    sluice: Sluice, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.embedded_redis.shutil.which", lambda name: None)
    monkeypatch.setattr("cli.embedded_redis.find_spec", lambda name: None)
    outcome = sluice("up", "--port", "0", "--data-dir", "d3")
    assert (outcome.status, "no redis-server found" in outcome.err) == (1, True)
    assert list(folder.iterdir()) == []
