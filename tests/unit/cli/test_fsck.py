"""The command line of `sluice fsck`; what it finds and repairs is tested against a real database."""

import pytest

from tests.unit.cli.conftest import Sluice


def test_the_help_says_that_it_only_looks_and_what_its_status_means(sluice: Sluice) -> None:
    outcome = sluice("fsck", "--help")
    assert outcome.status == 0
    told = " ".join(outcome.out.split())
    assert "--repair" in told
    assert "without it only look" in told
    assert "Exit status 0:" in told


@pytest.mark.parametrize("arguments", [["--repiar"], ["extra"]])
def test_wrong_usage_is_status_2(sluice: Sluice, arguments: list[str]) -> None:
    outcome = sluice("fsck", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("Usage: sluice fsck")


def test_wrong_settings_are_one_line_each(sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_NO_SUCH_THING", "1")
    outcome = sluice("fsck")
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert outcome.err.startswith("settings: SLUICE_NO_SUCH_THING: ")
