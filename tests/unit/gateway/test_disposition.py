"""Parameters of header fields, and file names in them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidFilename
from gateway.api.disposition import attachment, disposition_filename, parse_parameters


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


@pytest.mark.parametrize(
    ("field", "parameters"),
    [
        ("a/b; x=1; Y = two ;z", {"x": "1", "y": "two"}),
        ('a/b; x="1;y=2"; y=3', {"x": "1;y=2", "y": "3"}),
        (r'a/b; x="\"; y=2"; z=3', {"x": '"; y=2', "z": "3"}),
        ("a/b; x=1; x=2", {"x": "1"}),
        ('a/b; x="open; y=2', {"x": '"open; y=2'}),
        ('a/b; x="open\\', {"x": '"open\\'}),
        ("a/b;;; x=", {"x": ""}),
    ],
)
def test_parameters_are_read_with_their_quotes(field: str, parameters: dict[str, str]) -> None:
    assert parse_parameters(field) == ("a/b", parameters)


@pytest.mark.parametrize(
    "value",
    [
        "attachment; filename=\"a; filename*=UTF-8''evil.exe\"",
        "attachment; x=\"; filename*=UTF-8''evil.exe\"; filename=\"a; filename*=UTF-8''evil.exe\"",
    ],
)
def test_what_looks_like_a_parameter_inside_quotes_is_none(value: str) -> None:
    assert disposition_filename(value) == "a; filename*=UTF-8''evil.exe"


@given(st.text(st.sampled_from('";\\=*a ')))
def test_any_field_is_read_in_a_moment(text: str) -> None:
    began = time.thread_time()
    parse_parameters(text * 1000)
    assert time.thread_time() - began < 1
