"""Chunk arithmetic."""

from hypothesis import given, settings
from hypothesis import strategies as st

from client.plan import chunk_indexes, chunk_span, missing_bytes


def test_the_last_chunk_is_shorter() -> None:
    assert [chunk_span(i, 4, 10) for i in range(3)] == [(0, 4), (4, 4), (8, 2)]


def test_ranges_include_both_ends() -> None:
    assert list(chunk_indexes([(0, 2), (5, 5)])) == [0, 1, 2, 5]


def test_nothing_missing_is_no_bytes() -> None:
    assert missing_bytes([], 4, 10) == 0


@settings(deadline=None)  # the machine may be busy with other tests
@given(size=st.integers(1, 5_000), chunk_size=st.integers(1, 700), data=st.data())
def test_missing_bytes_are_the_sum_of_the_missing_chunks(size: int, chunk_size: int, data: st.DataObject) -> None:
    last_index = -(-size // chunk_size) - 1
    first = data.draw(st.integers(0, last_index))
    last = data.draw(st.integers(first, last_index))
    expected = sum(chunk_span(i, chunk_size, size)[1] for i in chunk_indexes([(first, last)]))
    assert missing_bytes([(first, last)], chunk_size, size) == expected
