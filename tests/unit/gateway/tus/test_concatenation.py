"""`Upload-Concat`: partial uploads, and those that are made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidField
from gateway.tus.concatenation import check_concat, is_final, is_partial, parts_of


@pytest.mark.parametrize(
    "address",
    ["/tus/a", "https://example.com/tus/a", "http://10.0.0.1:8000/up/tus/a", "a", "//example.com/tus/a", "/tus/a/"],
)
def test_an_address_may_be_absolute_or_relative(address: str) -> None:
    assert parts_of(f"final;{address}") == ["a"]


def test_the_order_is_that_of_the_field_and_one_may_stand_twice() -> None:
    assert parts_of("final;/tus/b /tus/a /tus/b") == ["b", "a", "b"]


@pytest.mark.parametrize(
    "text", ["final;", "final;   ", "final;/", "final;/other/a", "final;http://[x/tus/a", "final;/tus/a /tus/"]
)
def test_a_list_without_partial_uploads_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        parts_of(text)


@pytest.mark.parametrize("text", ["Partial", "final", "partial;", "", "x"])
def test_what_is_neither_partial_nor_final_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        check_concat(text)


def test_without_the_field_an_upload_is_neither() -> None:
    check_concat(None)
    assert not is_final(None)
    assert not is_partial(None)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_any_list_is_read_or_refused(text: str) -> None:
    try:
        assert all("/" not in part for part in parts_of(f"final;{text}"))
    except InvalidField:
        return
