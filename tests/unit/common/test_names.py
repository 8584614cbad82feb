"""File names are data."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ExtensionNotAllowed, InvalidFilename
from common.names import MAX_NAME_BYTES, check_extension, clean_filename, extension


@pytest.mark.parametrize("name", ["a.txt", "🎉", "👩‍👩‍👧.png", "a" * 255, "ä" * 127, "...", "a b", "-rf", "$(x)", "न्‍य"])
def test_names_that_are_taken(name: str) -> None:
    assert clean_filename(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", " ", "\u3000", "a/b", "a\\b", "/", "../a", "a\x00", "\n", "a\tb", "\x7f", "\x85", "\u202e",
        "\u200b", "\u2028", "\u2029", "\ufeff", "\ud800", "a" * 256, "ä" * 128, "🎉" * 64,
    ],
)  # fmt: skip
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidFilename):
        clean_filename(name)


def test_a_name_that_is_far_too_long_is_refused_before_it_is_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.names.unicodedata", None)
    with pytest.raises(InvalidFilename, match="255 bytes"):
        clean_filename("a" + "\u0315\u0300" * 200_000)


@pytest.mark.parametrize("composed", ["\u1fa7", "\uac01", "\u1e69"])
def test_a_name_that_is_short_enough_when_composed_is_taken(composed: str) -> None:
    name = composed * (MAX_NAME_BYTES // 3)
    assert clean_filename(unicodedata.normalize("NFD", name)) == name


def test_a_refusal_names_the_character() -> None:
    with pytest.raises(InvalidFilename, match=r"U\+202E"):
        clean_filename("gpj\u202eexe")


@given(st.text())
def test_whatever_is_taken_is_clean_and_stays_as_it_is(name: str) -> None:
    try:
        taken = clean_filename(name)
    except InvalidFilename:
        return
    assert clean_filename(taken) == taken == unicodedata.normalize("NFC", name)
    assert len(taken.encode()) <= MAX_NAME_BYTES
    assert not set(taken) & set("/\\\x00\r\n")


@pytest.mark.parametrize(
    ("name", "found"),
    [("a.TXT", "txt"), ("a.tar.gz", "gz"), (".profile", ""), ("plain", ""), ("a.", ""), ("..x", "x"), ("a.b c", "b c")],
)
def test_extensions(name: str, found: str) -> None:
    assert extension(name) == found


def test_any_extension_is_taken_where_there_is_no_list() -> None:
    check_extension("a.exe", ())


def test_a_list_of_extensions_is_a_list() -> None:
    check_extension("a.CSV", ("csv", "pdf"))
    for name in ("a.exe", "csv", ".csv", "a.csv.exe"):
        with pytest.raises(ExtensionNotAllowed, match=r"\.csv, \.pdf"):
            check_extension(name, ("pdf", "csv"))
