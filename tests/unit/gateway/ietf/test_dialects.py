"""Interop versions of the draft."""

import pytest
from starlette.datastructures import Headers

from gateway.ietf.dialects import Dialect, dialect_of


@pytest.mark.parametrize(
    ("text", "version"), [("3", 3), ("5", 5), ("6", 6), ("8", 8), ("9", 8), ("1", 3), ("x", 8), (None, 8)]
)
def test_a_request_names_its_version(text: str | None, version: int) -> None:
    fields = {} if text is None else {"Upload-Draft-Interop-Version": text}
    assert dialect_of(Headers(fields)).version == version


@pytest.mark.parametrize(("value", "complete"), [("?0", True), ("?1", False), ("x", None)])
def test_version_3_says_whether_the_upload_is_incomplete(value: str, complete: bool | None) -> None:
    assert Dialect(3).complete_of(Headers({"Upload-Incomplete": value})) is complete


@pytest.mark.parametrize("version", [4, 5, 6, 8])
def test_later_versions_say_whether_it_is_complete(version: int) -> None:
    dialect = Dialect(version)
    assert dialect.complete_of(Headers({"Upload-Complete": "?1", "Upload-Incomplete": "?1"})) is True
    assert dialect.complete_of(Headers({"Upload-Incomplete": "?0"})) is None


def test_an_answer_says_the_same_in_the_words_of_its_version() -> None:
    assert Dialect(3).fields(complete=True) == {"Upload-Incomplete": "?0", "Upload-Draft-Interop-Version": "3"}
    assert Dialect(8).fields(complete=True) == {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "8"}


@pytest.mark.parametrize(
    ("version", "typed", "status"), [(3, False, 201), (5, False, 201), (6, True, 204), (8, True, 204)]
)
def test_appends_have_a_media_type_since_version_6(version: int, typed: bool, status: int) -> None:
    dialect = Dialect(version)
    assert (dialect.partial_type, dialect.appended_status) == (typed, status)
