"""Header fields by their RFCs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidDigest, RangeNotSatisfiable
from gateway.api.fields import merged_digests, parse_range


@given(st.integers(0, 1000), st.integers(0, 1200), st.integers(0, 1200))
def test_a_range_is_what_a_slice_would_be(size: int, first: int, last: int) -> None:
    data = bytes(index % 256 for index in range(size))
    for text, expected in ((f"{first}-{last}", data[first : last + 1]), (f"{first}-", data[first:])):
        if first > last and text.endswith(str(last)):
            assert parse_range(f"bytes={text}", size) is None
        elif first >= size:
            with pytest.raises(RangeNotSatisfiable):
                parse_range(f"bytes={text}", size)
        else:
            start, length = parse_range(f"bytes={text}", size) or (-1, -1)
            assert data[start : start + length] == expected
            assert length == len(expected)


@given(st.integers(0, 1000), st.integers(0, 1200))
def test_a_suffix_is_what_a_slice_from_the_end_would_be(size: int, wanted: int) -> None:
    if wanted == 0 or size == 0:
        with pytest.raises(RangeNotSatisfiable) as refused:
            parse_range(f"bytes=-{wanted}", size)
        assert refused.value.extras == {"size": size}
    else:
        assert parse_range(f"bytes=-{wanted}", size) == (max(size - wanted, 0), min(size, wanted))


@given(st.text() | st.from_regex(r"bytes=[0-9, -]*"))
def test_any_range_field_is_read_or_ignored(text: str) -> None:
    try:
        found = parse_range(text, 100)
    except RangeNotSatisfiable:
        return
    assert found is None or (0 <= found[0] < 100 and 0 < found[1] <= 100 - found[0])


@pytest.mark.parametrize("text", ["bytes=0-1,2-3", "items=0-1", "bytes 0-1", "bytes=a-b", "bytes=5-1"])
def test_what_is_not_one_byte_range_is_ignored(text: str) -> None:
    assert parse_range(text, 100) is None


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("bytes=0-99999999999999999999", (0, 100)),
        ("bytes=90-" + "9" * 5000, (90, 10)),
        ("bytes=-" + "9" * 5000, (0, 100)),
        ("bytes=" + "0" * 5000 + "5-6", (5, 2)),
        ("Bytes=0-0", (0, 1)),
    ],
)
def test_numbers_of_any_length_and_units_in_any_case_are_read(field: str, found: tuple[int, int]) -> None:
    assert parse_range(field, 100) == found


@pytest.mark.parametrize("field", ["bytes=99999999999999999999-", "bytes=" + "9" * 5000 + "-", "bytes=-" + "0" * 5000])
def test_a_start_beyond_the_end_is_refused_however_it_is_written(field: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(field, 100)


def test_the_digests_of_two_fields_count_both() -> None:
    crc, sha = "crc32c=:4waSgw==:", "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
    assert set(merged_digests([[crc], [sha]])) == {"crc32c", "sha-256"}
    assert merged_digests([[crc, sha], [crc]]) == merged_digests([[crc], [sha]])
    with pytest.raises(InvalidDigest, match="crc32c"):
        merged_digests([[crc], ["crc32c=:AAAAAA==:"]])
