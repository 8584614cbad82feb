"""Downloads: ranges, conditions and digests as RFC 9110, 9530 and 6266 have them."""

import hashlib
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

import httpx
import pytest

from common.digests import parse_content_digest
from tests.integration.gateway.rig import Gateway, Json, assert_problem

CONTENT = bytes(range(100))
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


@pytest.fixture(scope="module")
def file(gateway: Gateway) -> Json:
    """A hundred different bytes."""
    return gateway.publish(CONTENT, filename="hundred bytes.bin", content_type="application/x-hundred")


def get(gateway: Gateway, file: Json, **fields: str) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return gateway.http.get(file["links"]["content"], headers=headers)


def test_the_whole_comes_with_everything_to_check_and_to_resume_it(gateway: Gateway, file: Json) -> None:
    answer = get(gateway, file)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["etag"] == ETAG
    assert answer.headers["content-length"] == "100"
    assert answer.headers["content-type"] == "application/x-hundred"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == 'attachment; filename="hundred bytes.bin"'
    assert parse_content_digest(answer.headers["repr-digest"])["sha-256"] == hashlib.sha256(CONTENT).digest()


def test_head_has_the_same_fields_and_no_body(gateway: Gateway, file: Json) -> None:
    whole = get(gateway, file).headers
    answer = gateway.http.head(file["links"]["content"], headers={"Range": "bytes=0-4"})
    assert (answer.status_code, answer.content) == (200, b"")
    for name in ("etag", "content-length", "content-type", "repr-digest", "accept-ranges", "last-modified"):
        assert answer.headers[name] == whole[name]


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("0-9", 0, 9), ("0-0", 0, 0), ("40-59", 40, 59), ("99-99", 99, 99), ("90-", 90, 99), ("-10", 90, 99),
        ("-1000", 0, 99), ("95-1000", 95, 99), ("0-", 0, 99), ("0-9223372036854775807", 0, 99),
        ("0-99999999999999999999", 0, 99),
    ],
)  # fmt: skip
def test_a_range_is_cut_out(gateway: Gateway, file: Json, wanted: str, first: int, last: int) -> None:
    answer = get(gateway, file, Range=f"bytes={wanted}")
    assert (answer.status_code, answer.content) == (206, CONTENT[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/100"
    assert answer.headers["content-length"] == str(last - first + 1)
    assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize("wanted", ["100-", "100-200", "-0", "1000000000000-", "99999999999999999999-"])
def test_a_range_beyond_the_end_is_416_and_tells_the_size(gateway: Gateway, file: Json, wanted: str) -> None:
    answer = get(gateway, file, Range=f"bytes={wanted}")
    assert assert_problem(answer, 416, "range_not_satisfiable")["size"] == 100
    assert answer.headers["content-range"] == "bytes */100"


@pytest.mark.parametrize(
    "wanted", ["bytes=0-1,5-6", "lines=0-1", "bytes=", "bytes=-", "bytes=5-1", "bytes=x-", "bytes=0 - 1"]
)
def test_a_range_that_is_not_understood_is_ignored(gateway: Gateway, file: Json, wanted: str) -> None:
    answer = get(gateway, file, Range=wanted)
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("condition", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_what_the_client_has_already_is_not_sent(gateway: Gateway, file: Json, condition: str) -> None:
    answer = get(gateway, file, If_None_Match=condition)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == ETAG


def test_an_entity_tag_of_other_bytes_gets_the_whole(gateway: Gateway, file: Json) -> None:
    assert get(gateway, file, If_None_Match='"other"').content == CONTENT


def test_a_date_as_condition(gateway: Gateway, file: Json) -> None:
    modified = get(gateway, file).headers["last-modified"]
    earlier = format_datetime(parsedate_to_datetime(modified) - timedelta(hours=1), usegmt=True)
    assert get(gateway, file, If_Modified_Since=modified).status_code == 304
    assert get(gateway, file, If_Modified_Since=earlier).status_code == 200
    for odd in ("yesterday", "Fri, 31 Dec 9999 23:59:59 -1400", "Fri, 02 Jan 99999999999999999999 00:00:00 GMT"):
        assert get(gateway, file, If_Modified_Since=odd).status_code == 200
    assert get(gateway, file, If_Modified_Since=modified, If_None_Match='"other"').status_code == 200


def test_a_range_is_sent_only_of_the_bytes_the_client_means(gateway: Gateway, file: Json) -> None:
    modified = get(gateway, file).headers["last-modified"]
    assert get(gateway, file, Range="bytes=0-4", If_Range=ETAG).status_code == 206
    assert get(gateway, file, Range="bytes=0-4", If_Range=modified).status_code == 206
    later = format_datetime(parsedate_to_datetime(modified) + timedelta(hours=1), usegmt=True)
    for condition in ('"other"', f"W/{ETAG}", "Mon, 01 Jan 2001 00:00:00 GMT", "nonsense", later):
        answer = get(gateway, file, Range="bytes=0-4", If_Range=condition)
        assert (answer.status_code, answer.content) == (200, CONTENT)


def test_a_condition_that_does_not_hold_is_412(gateway: Gateway, file: Json) -> None:
    assert get(gateway, file, If_Match=ETAG).status_code == 200
    assert_problem(get(gateway, file, If_Match='"other"'), 412, "precondition_failed")
    old = "Mon, 01 Jan 2001 00:00:00 GMT"
    assert_problem(get(gateway, file, If_Unmodified_Since=old, If_None_Match=ETAG), 412, "precondition_failed")


@pytest.mark.parametrize("fields", [{}, {"Range": "bytes=-5"}, {"Range": "bytes=0-"}])
def test_an_empty_file_is_sent_or_has_no_such_range(gateway: Gateway, fields: dict[str, str]) -> None:
    empty = gateway.publish(b"")
    answer = get(gateway, empty, **fields)
    if fields:
        assert_problem(answer, 416, "range_not_satisfiable")
    else:
        assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("name", "plain", "extended"),
    [
        ("quo\"te'.txt", "quo_te'.txt", "quo%22te%27.txt"),
        ("100%.txt", "100_.txt", "100%25.txt"),
        ("🎉.txt", "_.txt", "%F0%9F%8E%89.txt"),
        ("a;b, c.txt", "a;b, c.txt", None),
    ],
)
def test_any_name_can_be_saved_under(gateway: Gateway, name: str, plain: str, extended: str | None) -> None:
    answer = get(gateway, gateway.publish(b"x", filename=name))
    expected = f'attachment; filename="{plain}"' + (f"; filename*=UTF-8''{extended}" if extended else "")
    assert answer.headers["content-disposition"] == expected


def test_a_client_that_goes_away_leaves_no_open_file(gateway: Gateway) -> None:
    large = gateway.publish(bytes(8_000_000))
    with gateway.wire() as wire:
        wire.head(f"GET {large['links']['content']}")
        wire.socket.recv(1000)
    assert gateway.http.delete(large["links"]["self"]).status_code == 204
    assert gateway.http.get("/livez").status_code == 200
