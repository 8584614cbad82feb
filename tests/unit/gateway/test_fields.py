"""Header fields by their RFCs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidFilename, RangeNotSatisfiable
from gateway.api.fields import attachment, disposition_filename, matches, parse_range


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ('attachment; filename="a.txt"', "a.txt"),
        ("attachment; filename=a.txt", "a.txt"),
        ('ATTACHMENT; FILENAME="a.txt"', "a.txt"),
        ('attachment; filename="a;b.txt"', "a;b.txt"),
        (r'attachment; filename="q\"uote.txt"', 'q"uote.txt'),
        ("attachment; filename=x; filename*=UTF-8''%e2%82%ac", "€"),
        ("attachment; filename*=utf-8'en'a%20b; filename=x", "a b"),
        ("attachment; filename*=iso-8859-1''%e4", "ä"),
        ("attachment; filename*=utf-8''%ff; filename=fallback", "fallback"),
        ('form-data; name="f"; filename="\xe4.txt"', "ä.txt"),
    ],
)
def test_the_name_is_found(value: str, name: str) -> None:
    assert disposition_filename(value) == name


@pytest.mark.parametrize("value", [None, "", "attachment", 'attachment; filename=""', "inline; name=x"])
def test_a_field_without_a_name_is_refused(value: str | None) -> None:
    with pytest.raises(InvalidFilename, match="Content-Disposition"):
        disposition_filename(value)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"]), min_size=1))
def test_the_name_that_is_sent_is_the_name_that_is_read(name: str) -> None:
    field = attachment(name)
    assert field.isascii()
    assert field.isprintable()
    assert disposition_filename(field) == name


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


@pytest.mark.parametrize("text", ["bytes=0-1,2-3", "items=0-1", "bytes 0-1", "bytes=a-b", "bytes=0-" + "9" * 5000])
def test_what_is_not_one_byte_range_is_ignored(text: str) -> None:
    assert parse_range(text, 100) is None


@pytest.mark.parametrize(
    ("field", "found"), [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False)]
)
def test_entity_tags_are_compared_weakly(field: str, found: bool) -> None:
    assert matches(field, '"a"') is found
