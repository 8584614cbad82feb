"""`Upload-Metadata`: pairs, and what of them names the file."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidField
from gateway.tus.metadata import Said, parse_metadata, read

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, blacklist_characters=","), min_size=1, max_size=9)


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


@given(st.dictionaries(KEYS, st.text(st.characters(codec="utf-8", blacklist_characters="\0"), max_size=20), min_size=1))
def test_every_pair_comes_back(pairs: dict[str, str]) -> None:
    text = ",".join(f"{key} {encoded(value.encode())}" for key, value in pairs.items())
    assert parse_metadata(text) == pairs


@given(st.text(st.characters(max_codepoint=255)))
def test_any_field_is_read_or_refused(text: str) -> None:
    try:
        parse_metadata(text)
    except InvalidField:
        return


def test_the_value_may_be_left_out() -> None:
    assert parse_metadata("is_confidential,filename YQ==,empty ") == {
        "is_confidential": "",
        "filename": "a",
        "empty": "",
    }


@pytest.mark.parametrize("text", [None, "", "  "])
def test_a_field_without_pairs_says_nothing(text: str | None) -> None:
    assert parse_metadata(text) == {}


@pytest.mark.parametrize("text", [",", "a YQ==,,b YQ==", "a YQ==,a YQ==", "a !", "a YQ=", "a Y Q==", "a b c"])
def test_what_is_no_list_of_pairs_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_metadata(text)


@pytest.mark.parametrize("value", [b"\xff\xfe", b"a\0b", "\ud800".encode("utf-8", "surrogatepass")])
def test_a_value_that_is_no_text_stays_in_base64(value: bytes) -> None:
    assert parse_metadata(f"hash {encoded(value)}") == {"hash": encoded(value)}


def test_a_key_may_be_utf_8() -> None:
    assert parse_metadata("Straße YQ==".encode().decode("latin-1")) == {"Straße": "a"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"filename": "a.txt", "filetype": "text/plain"}, Said("a.txt", "text/plain", {})),
        ({"name": "a.txt", "type": "text/plain"}, Said("a.txt", "text/plain", {})),
        # what Uppy sends: both, and more
        (
            {"name": "a.txt", "type": "text/plain", "filename": "a.txt", "filetype": "text/plain", "caption": "x"},
            Said("a.txt", "text/plain", {"caption": "x"}),
        ),
        ({"filename": "a.txt", "name": "Other"}, Said("a.txt", None, {"name": "Other"})),
        ({"filename": "", "name": "a.txt"}, Said("a.txt", None, {})),
        ({"filetype": "null"}, Said(None, None, {"filetype": "null"})),
        ({"project": "x"}, Said(None, None, {"project": "x"})),
    ],
)
def test_name_and_type_are_taken_out(values: dict[str, str], said: Said) -> None:
    assert read(values) == said
