"""The verdicts over the targets of the design."""

from bench.budget import verdicts
from bench.measures.contenders import DEFAULT, NODE, RECEIPTS, TUSD
from bench.measures.finalize import TIME
from bench.measures.large import READY
from bench.measures.listing import P99
from bench.rows import Result


def large(ours: float) -> Result:
    result = Result(form="full")
    for who, value in ((RECEIPTS, ours), (DEFAULT, ours), (NODE, 100.0), (TUSD, 150.0)):
        result.add("4 connections", who, READY, value)
    return result


def test_a_target_that_is_reached_is_met() -> None:
    assert [one.met for one in verdicts({"large": large(180.0)})] == [True, True, True]


def test_a_target_that_is_not_reached_is_missed_with_the_ratio() -> None:
    first, second, third = verdicts({"large": large(140.0)})
    assert (first.measured, first.met) == ("1.40x", False)
    assert (second.met, third.met) == (True, False)


def test_the_size_that_was_sent_stands_in_the_target() -> None:
    short = large(140.0)
    short.form = "short"
    assert verdicts({"large": short})[0].target.startswith("128 MiB over 4 connections")


def test_a_target_whose_rival_is_missing_is_not_judged() -> None:
    result = large(200.0)
    result.rows = [row for row in result.rows if row.who != TUSD]
    assert len(verdicts({"large": result})) == 2


def test_receipts_are_flat_within_half_of_the_quickest() -> None:
    result = Result()
    for case, value in (("1 MiB", 20.0), ("100 GiB", 31.0)):
        result.add(case, RECEIPTS, TIME, value)
    (found,) = verdicts({"finalize": result})
    assert (found.measured, found.met) == ("20 ms at 1 MiB, 31 ms at 100 GiB: 1.55x", False)


def test_the_worst_kind_of_page_decides_over_the_listing() -> None:
    result = Result()
    for case, few, many in (("first page", 2.0, 2.0), ("page of a tag", 2.0, 5.0)):
        result.add(case, "SQLite, 1,000 files", P99, few)
        result.add(case, "SQLite, 1,000,000 files", P99, many)
    (found,) = verdicts({"listing": result})
    assert (found.measured, found.met) == ("2.50x at most (page of a tag)", False)
