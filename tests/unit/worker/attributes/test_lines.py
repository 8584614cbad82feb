"""Line counts over streamed buffers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.attributes.lines import LineCounter, LineFacts


def count(*buffers: bytes, encoding: str = "utf-8") -> LineFacts:
    counter = LineCounter(encoding)
    for buffer in buffers:
        counter.update(buffer)
    return counter.result()


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (b"", {"line_count": 0}),
        (b"no line break", {"line_count": 1}),
        (b"a\nb\n", {"line_count": 2, "line_ending": "lf"}),
        (b"a\nb", {"line_count": 2, "line_ending": "lf"}),
        (b"a\r\nb\r\n", {"line_count": 2, "line_ending": "crlf"}),
        (b"a\rb\r", {"line_count": 2, "line_ending": "cr"}),
        (b"a\nb\r\n", {"line_count": 2, "line_ending": "mixed"}),
        (b"\n\n\n", {"line_count": 3, "line_ending": "lf"}),
    ],
)
def test_lines_and_their_ending_are_counted(data: bytes, facts: LineFacts) -> None:
    assert count(data) == facts


def test_a_line_break_shared_by_two_buffers_counts_once() -> None:
    assert count(b"a\r", b"\nb\r", b"", b"\n") == {"line_count": 2, "line_ending": "crlf"}


def test_a_character_that_holds_the_byte_of_a_line_feed_is_no_line_break_in_utf16() -> None:
    text = "\u0a0a\u010a line\n"

    assert count(text.encode("utf-16-le"), encoding="utf-16le") == {"line_count": 1, "line_ending": "lf"}


@given(
    text=st.text(alphabet="ab\r\n", max_size=40),
    encoding=st.sampled_from(["utf-8", "utf-16le", "utf-32be", "windows-1252"]),
    cuts=st.lists(st.integers(0, 160), max_size=5),
)
def test_where_the_buffers_are_cut_makes_no_difference(text: str, encoding: str, cuts: list[int]) -> None:
    data = text.encode(encoding)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    buffers = [data[start:end] for start, end in itertools.pairwise(edges)]

    facts = count(*buffers, encoding=encoding)

    assert facts["line_count"] == len(text.splitlines())
