"""Conditions on a file that never changes."""

from datetime import UTC, datetime

import pytest

from common.errors import PreconditionFailed
from gateway.api.conditions import Validators

FILE = Validators('"a"', datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC))
THEN, EARLIER, LATER = (f"Fri, 02 Jan 2026 03:04:{second} GMT" for second in ("05", "04", "06"))
NONSENSE = [
    "", "nonsense", "Fri, 02 Jan 2026", "Fri, 31 Dec 9999 23:59:59 -1400", "Fri, 02 Jan 2026 03:04:05 -0000",
    "Fri, 02 Jan 99999999999999999999 00:00:00 GMT", "Fri, 02 Jan 2026 03:04:05 +99999999999",
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "found"), [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False)]
)
def test_if_none_match_compares_weakly(field: str, found: bool) -> None:
    assert FILE.known({"if-none-match": field}) is found


@pytest.mark.parametrize(("date", "found"), [(THEN, True), (LATER, True), (EARLIER, False)])
def test_if_modified_since_counts_alone(date: str, found: bool) -> None:
    assert FILE.known({"if-modified-since": date}) is found
    assert not FILE.known({"if-modified-since": date, "if-none-match": '"b"'})


@pytest.mark.parametrize(
    ("field", "same"), [('"a"', True), (THEN, True), (LATER, False), (EARLIER, False), ('W/"a"', False), ("*", False)]
)
def test_if_range_is_exact(field: str, same: bool) -> None:
    assert FILE.same_range({"if-range": field}) is same
    assert FILE.same_range({})


@pytest.mark.parametrize("date", NONSENSE)
def test_a_date_that_is_none_is_ignored(date: str) -> None:
    assert not FILE.known({"if-modified-since": date})
    assert not FILE.same_range({"if-range": date})
    FILE.check({"if-unmodified-since": date})


@pytest.mark.parametrize(
    "fields",
    [
        {"if-match": '"b"'},
        {"if-match": 'W/"a"'},
        {"if-match": '"b"', "if-unmodified-since": THEN},
        {"if-unmodified-since": EARLIER},
    ],
)
def test_a_condition_that_does_not_hold_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(PreconditionFailed):
        FILE.check(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"if-match": "*"},
        {"if-match": '"b", "a"'},
        {"if-match": '"a"', "if-unmodified-since": EARLIER},
        {"if-unmodified-since": THEN},
        {"if-unmodified-since": LATER},
    ],
)
def test_a_condition_that_holds_passes(fields: dict[str, str]) -> None:
    FILE.check(fields)
