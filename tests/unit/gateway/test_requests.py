"""What a caller asks for, checked against the limits."""

import math
import time
from typing import Any

import pytest

from common.errors import (
    ExtensionNotAllowed,
    FileTooLarge,
    InvalidDigest,
    InvalidFilename,
    InvalidRequest,
    MetadataTooLarge,
)
from common.settings import LimitsSettings
from gateway.service.requests import (
    MAX_METADATA_DEPTH,
    Description,
    NewUpload,
    check_about,
    check_content_type,
    check_digests,
    check_name,
    check_size,
    parse_tags,
)

LIMITS = LimitsSettings.model_validate({"max_file_size": 100, "max_metadata_bytes": 1000, "max_tags": 3})


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_sizes() -> None:
    check_size(0, LIMITS)
    check_size(100, LIMITS)
    with pytest.raises(FileTooLarge):
        check_size(101, LIMITS)
    with pytest.raises(InvalidRequest):
        check_size(-1, LIMITS)


def test_names_and_extensions() -> None:
    only_csv = LimitsSettings.model_validate({"allowed_extensions": "csv"})
    assert check_name("a.CSV", only_csv) == "a.CSV"
    with pytest.raises(ExtensionNotAllowed):
        check_name("a.csv.exe", only_csv)
    with pytest.raises(InvalidFilename):
        check_name("a/b.csv", only_csv)


@pytest.mark.parametrize(
    "given", ["text/csv", " text/csv ", "a/b; charset=utf-8", 'a/b;c="d; e";', "application/vnd.a+json", None, "", "  "]
)
def test_content_types_that_are_taken(given: str | None) -> None:
    assert check_content_type(given) == ((given or "").strip() or None)


@pytest.mark.parametrize(
    "given",
    [
        "text",
        "a/b\r\nX: y",
        "a/\x00",
        "ä/b",
        "a/" + "b" * 255,
        "/",
        "a/",
        "/b",
        "a/b/c",
        "a b/c",
        "a/b; c",
        "a/b; c=d e",
        'a/b; c="d',
        "a/<b>",
    ],
)
def test_content_types_that_are_refused(given: str) -> None:
    with pytest.raises(InvalidRequest):
        check_content_type(given)


def test_a_content_type_is_judged_in_a_moment() -> None:
    began = time.thread_time()
    with pytest.raises(InvalidRequest):
        check_content_type("a/b" + " ; " * 83 + "=")
    assert time.thread_time() - began < 1


def test_digests_come_out_in_normal_form() -> None:
    assert check_digests({"crc32c": "E3069283"}) == {"crc32c": "e3069283"}
    with pytest.raises(InvalidDigest):
        check_digests({"crc32c": "e306928"})


@pytest.mark.parametrize(
    "about",
    [
        Description("x" * 16384),
        Description(metadata={"a": "x" * 990}),
        Description(metadata={"a": nested(MAX_METADATA_DEPTH - 2)}),
        Description(metadata={"n": [None, True, 1.5, -1, 10**30], "\\u0000": "\\ud800"}),
        Description(tags={"k" * 128: "v" * 256, "empty": ""}),
    ],
)
def test_descriptions_within_the_limits_are_taken(about: Description) -> None:
    assert check_about(about, LIMITS) is about


@pytest.mark.parametrize(
    "about",
    [
        Description("x" * 16385),
        Description("ä" * 8193),
        Description(metadata={"a": "x" * 995}),
        Description(tags={str(n): "" for n in range(4)}),
        Description(tags={"a" * 128: "v" * 256, "b" * 128: "v" * 256, "c" * 128: "v" * 256}),
    ],
)
def test_descriptions_over_a_limit_are_refused(about: Description) -> None:
    with pytest.raises(MetadataTooLarge):
        check_about(about, LIMITS)


@pytest.mark.parametrize(
    "about",
    [
        Description("\x00"),
        Description("\ud800"),
        Description(metadata={"a": ["\x00"]}),
        Description(metadata={"\udfff": 1}),
        Description(metadata={"a": [{"b": math.nan}]}),
        Description(metadata={"a": -math.inf}),
        Description(metadata={"a": nested(100_000)}),
        Description(tags={"": "v"}),
        Description(tags={"k" * 129: ""}),
        Description(tags={"k": "v" * 257}),
        Description(tags={"k": "\x00"}),
    ],
)
def test_descriptions_that_not_every_database_can_hold_are_refused(about: Description) -> None:
    with pytest.raises(InvalidRequest):
        check_about(about, LIMITS)


def test_a_fingerprint_tells_requests_apart_and_no_order_of_members() -> None:
    one = NewUpload("a", 1, about=Description(tags={"a": "1", "b": "2"}))
    same = NewUpload("a", 1, about=Description(tags={"b": "2", "a": "1"}))
    others = [NewUpload("b", 1), NewUpload("a", 2), NewUpload("a", 1, chunk_size=5), NewUpload("a", 1)]
    assert one.fingerprint() == same.fingerprint()
    assert len({request.fingerprint() for request in [one, *others]}) == 5


def test_tags_of_texts() -> None:
    assert parse_tags(["a=1", " b ", "c=x=y", "d="]) == {"a": "1", "b": "", "c": "x=y", "d": ""}
