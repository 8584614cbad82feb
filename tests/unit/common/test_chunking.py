"""Chunk sizes, plans and ranges."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.chunking import (
    DEFAULT_MAX,
    DEFAULT_MIN,
    GIB,
    MIB,
    ChunkPlan,
    agree_chunk_size,
    default_chunk_size,
    missing_ranges,
    ranges_of,
)
from common.errors import ChunkOutOfRange, ChunkSizeRefused, FileTooLarge

SIZES = st.integers(0, 6 * 1024 * GIB)
INDEXES = st.sets(st.integers(0, 200))


@given(st.integers(0, 100_000), st.integers(1, 5000))
def test_a_plan_covers_every_byte_once_and_in_order(size: int, chunk_size: int) -> None:
    plan = ChunkPlan(size, chunk_size)
    end = 0
    for offset, length in plan.segments():
        assert offset == end
        assert 0 < length <= chunk_size
        end += length
    assert end == size
    assert len(list(plan.segments())) == plan.count


@given(st.integers(1, 10**15), st.integers(1, 10**9), st.data())
def test_a_byte_belongs_to_the_chunk_that_holds_it(size: int, chunk_size: int, data: st.DataObject) -> None:
    plan = ChunkPlan(size, chunk_size)
    byte = data.draw(st.integers(0, size - 1))
    index = plan.index_at(byte)
    assert plan.offset(index) <= byte < plan.offset(index) + plan.length(index)


@pytest.mark.parametrize(("size", "index"), [(0, 0), (10, 3), (10, -1), (10, 10**40)])
def test_an_index_outside_the_plan_is_refused(size: int, index: int) -> None:
    plan = ChunkPlan(size, 4)
    for ask in (plan.offset, plan.length):
        with pytest.raises(ChunkOutOfRange) as refused:
            ask(index)
        assert refused.value.extras == {"chunk_count": plan.count}


def test_counts_are_exact_where_floats_are_not() -> None:
    size = 2**60 + 1
    assert ChunkPlan(size, 1).count == size
    assert ChunkPlan(2**60, 2**20).count == 2**40


@given(INDEXES, st.integers(0, 220))
def test_missing_and_received_together_are_everything(received: set[int], count: int) -> None:
    received = {index for index in received if index < count}
    missing = {index for first, last in missing_ranges(count, received) for index in range(first, last + 1)}
    assert missing | received == set(range(count))
    assert missing & received == set()


@given(INDEXES)
def test_ranges_are_the_shortest_way_to_say_it(indexes: set[int]) -> None:
    ranges = ranges_of(indexes)
    assert {index for first, last in ranges for index in range(first, last + 1)} == indexes
    assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))


@given(INDEXES)
def test_missing_is_the_inverse_of_ranges(indexes: set[int]) -> None:
    gaps = missing_ranges(201, indexes)
    assert missing_ranges(201, {i for first, last in gaps for i in range(first, last + 1)}) == ranges_of(indexes)


def test_an_index_that_came_twice_counts_once() -> None:
    assert missing_ranges(4, [1, 1, 3, 3]) == [(0, 0), (2, 2)]


@given(SIZES)
def test_the_default_is_whole_mebibytes_in_its_bounds_and_never_too_many_chunks(size: int) -> None:
    chosen = default_chunk_size(size)
    assert chosen % MIB == 0
    assert chosen >= DEFAULT_MIN
    assert chosen <= DEFAULT_MAX or size > DEFAULT_MAX * 10_000
    assert ChunkPlan(size, chosen).count <= 10_000


@pytest.mark.parametrize(
    ("size", "mebibytes"), [(0, 5), (2500 * MIB, 5), (2500 * MIB + 1, 6), (10_000 * MIB, 20), (1024 * GIB, 105)]
)
def test_the_default_for_known_sizes(size: int, mebibytes: int) -> None:
    assert default_chunk_size(size) == mebibytes * MIB


@given(SIZES, st.integers(1, 2 * GIB) | st.none(), st.integers(1, 10_000))
def test_what_is_agreed_keeps_all_limits(size: int, asked: int | None, max_chunks: int) -> None:
    try:
        agreed = agree_chunk_size(size, asked, smallest=1000, largest=GIB, max_chunks=max_chunks)
    except FileTooLarge:
        assert size > GIB * max_chunks
        return
    except ChunkSizeRefused as refused:  # what it proposes is taken
        agreed = agree_chunk_size(size, refused.extras["minimum"], smallest=1000, largest=GIB, max_chunks=max_chunks)
        asked = refused.extras["minimum"]
    assert 1000 <= agreed <= GIB
    assert ChunkPlan(size, agreed).count <= max_chunks
    assert asked is None or agreed == asked


def test_a_default_is_moved_into_the_limits() -> None:
    assert agree_chunk_size(10, None, smallest=1, largest=MIB) == MIB
    assert agree_chunk_size(10, None, smallest=64 * MIB, largest=GIB) == 64 * MIB
