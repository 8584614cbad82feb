"""The order of the files in a run by several processes."""

from pathlib import Path

from tests.fixtures.order import LONGEST_FIRST


def test_the_long_files_that_come_first_are_there_and_named_once(root: Path) -> None:
    assert [path for path in LONGEST_FIRST if not (root / path).is_file()] == []
    assert len(set(LONGEST_FIRST)) == len(LONGEST_FIRST)
