"""Range locks and shared locks, by the kernel and by the table that takes its place."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.storage.locks import RangeLocks, share, take_alone


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two descriptions of one open file, as two connections have."""
    path = tmp_path / "locks"
    path.touch()
    pair = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    yield pair
    for descriptor in pair:
        os.close(descriptor)


@pytest.fixture(params=["kernel", "table"])
def ranges(request: pytest.FixtureRequest) -> RangeLocks:
    return RangeLocks() if request.param == "kernel" else RangeLocks(None)


@pytest.mark.parametrize("other", [(0, 100), (99, 1), (0, 0), (50, 1 << 40)])
def test_a_range_has_one_holder(ranges: RangeLocks, descriptors: tuple[int, int], other: tuple[int, int]) -> None:
    assert ranges.take(descriptors[0], 0, 100)
    assert ranges.take(descriptors[1], *other) is None


def test_ranges_beside_each_other_are_free(ranges: RangeLocks, descriptors: tuple[int, int]) -> None:
    assert ranges.take(descriptors[0], 0, 100)
    assert ranges.take(descriptors[1], 100, 1)


def test_a_released_range_is_free(ranges: RangeLocks, descriptors: tuple[int, int], tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "locks", os.O_RDWR)
    lock = ranges.take(descriptor, 0, 100)
    assert lock
    lock.release()
    os.close(descriptor)
    assert ranges.take(descriptors[1], 0, 100)


def test_a_file_system_without_range_locks_gets_the_table(
    descriptors: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "ENOLCK")

    monkeypatch.setattr(fcntl, "fcntl", no_locks)
    ranges = RangeLocks()
    assert ranges.take(descriptors[0], 0, 100)
    assert ranges.take(descriptors[1], 50, 100) is None


def test_writers_share_and_a_sealer_is_alone(descriptors: tuple[int, int]) -> None:
    assert share(descriptors[0])
    assert share(descriptors[1])
    assert not take_alone(descriptors[0])


def test_nobody_writes_beside_a_sealer(descriptors: tuple[int, int]) -> None:
    assert take_alone(descriptors[0])
    assert not share(descriptors[1])
    assert not take_alone(descriptors[1])
