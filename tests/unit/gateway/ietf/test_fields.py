"""Structured fields of resumable uploads: what is malformed is ignored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from gateway.ietf.fields import boolean, format_limit, integer, wanted_digests


def headers(*values: str, name: str = "x") -> Headers:
    return Headers(raw=[(name.encode(), value.encode("latin-1")) for value in values])


@pytest.mark.parametrize(("text", "value"), [("?1", True), ("?0", False), ("?1;a=b", True), (" ?0 ", False)])
def test_a_boolean_is_read(text: str, value: bool) -> None:
    assert boolean(headers(text), "x") is value


@pytest.mark.parametrize("text", ["", "1", "0", "true", "?2", "?1, ?1", "(?1)", "?", '"?1"', "ä"])
def test_what_is_no_boolean_is_ignored(text: str) -> None:
    assert boolean(headers(text), "x") is None


@given(st.integers(0, 999_999_999_999_999))
def test_an_integer_is_read(value: int) -> None:
    assert integer(headers(str(value)), "x") == value


@pytest.mark.parametrize("text", ["", "-1", "1.5", "?1", "1, 2", "9999999999999999", "abc", "+1", '"1"'])
def test_what_is_no_integer_from_0_is_ignored(text: str) -> None:
    assert integer(headers(text), "x") is None


def test_a_field_that_stands_twice_is_ignored() -> None:
    assert integer(headers("1", "1"), "x") is None
    assert boolean(headers("?1", "?1"), "x") is None


@given(st.text(st.characters(max_codepoint=255)))
def test_any_field_is_read_or_ignored(text: str) -> None:
    assert boolean(headers(text), "x") in (True, False, None)
    assert (integer(headers(text), "x") or 0) >= 0
    wanted_digests(headers(text, name="want-repr-digest"))


def test_limits_are_a_dictionary() -> None:
    assert format_limit({"max-size": 1234567890, "max-age": 60}) == "max-size=1234567890, max-age=60"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sha-256=1, crc64nvme=10, md5=9, sha-512=0", ["crc64nvme", "sha-256"]),
        ("sha-256", []),  # a boolean is no weight
        ("sha-256=()", []),
        ("", []),
        ("!", []),
    ],
)
def test_wanted_digests_are_those_that_we_know(text: str, wanted: list[str]) -> None:
    assert wanted_digests(headers(text, name="want-repr-digest")) == wanted
