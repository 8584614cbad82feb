"""Versions of libraries against what is needed."""

import pytest
from packaging.requirements import Requirement

from cli.doctor.machine import SAFE, too_old


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pytest>=1", ""),
        ("pytest>=9999", "is not >=9999"),
        ("no-such-library>=1", "no-such-library is missing"),
        ("no-such-library>=1; extra == 's3'", ""),
        ("pytest>=9999; extra == 's3'", "is not >=9999"),
    ],
)
def test_what_is_missing_or_too_old_is_named(line: str, said: str) -> None:
    told = too_old(Requirement(line))
    assert told.endswith(said)
    assert bool(told) == bool(said)


def test_a_library_that_need_not_be_there_may_be_missing() -> None:
    assert too_old(Requirement("no-such-library>=1"), needed=False) == ""


def test_the_floors_are_met_here() -> None:
    assert [too_old(Requirement(line), needed=False) for line in SAFE] == [""] * len(SAFE)
