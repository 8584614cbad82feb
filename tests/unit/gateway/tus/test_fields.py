"""Header fields of tus 1.0: numbers, lengths, bodies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from common.errors import ContentTypeRefused, InvalidField
from gateway.tus.fields import BEYOND, declared_length, number, require_body_type


def headers(*fields: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.lower().encode(), value.encode("latin-1")) for name, value in fields])


@given(st.integers(0, 10**18))
def test_a_number_is_what_its_digits_say(value: int) -> None:
    assert number(headers(("Upload-Offset", str(value))), "Upload-Offset") == value
    assert number(headers(("Upload-Offset", f"000{value}")), "Upload-Offset") == value


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1e3", "0x10", " 1", "1_0", "1,1", "٣", "abc"])
def test_what_is_no_number_is_refused(text: str) -> None:
    fields = Headers({"upload-offset": text}) if text.isascii() else Headers({"upload-offset": "\xd9\xa3"})
    with pytest.raises(InvalidField):
        number(fields, "Upload-Offset")


def test_a_number_of_any_length_is_no_work() -> None:
    assert number(headers(("Upload-Length", "9" * 60_000)), "Upload-Length") == BEYOND


def test_a_field_that_stands_twice_is_refused() -> None:
    with pytest.raises(InvalidField):
        number(headers(("Upload-Offset", "1"), ("Upload-Offset", "1")), "Upload-Offset")


def test_a_length_is_declared_or_deferred() -> None:
    assert declared_length(headers(("Upload-Length", "0"))) == 0
    assert declared_length(headers(("Upload-Defer-Length", "1"))) is None


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Upload-Length", "1"), ("Upload-Defer-Length", "1")],
        [("Upload-Defer-Length", "0")],
        [("Upload-Defer-Length", "2")],
        [("Upload-Length", "5"), ("Upload-Defer-Length", "x")],
    ],
)
def test_neither_both_and_other_deferrals_are_refused(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidField):
        declared_length(headers(*fields))


def test_the_media_type_of_bytes_may_have_parameters() -> None:
    require_body_type(headers(("Content-Type", "Application/Offset+Octet-Stream; charset=x")))


@pytest.mark.parametrize("text", ["", "application/octet-stream", "application/offset+octet-streams"])
def test_bytes_of_another_media_type_are_refused(text: str) -> None:
    with pytest.raises(ContentTypeRefused):
        require_body_type(headers(("Content-Type", text)))
