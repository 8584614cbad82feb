"""Tables, figures and profiles of the benchmark, made of its numbers."""

from pathlib import Path

import pytest

from bench import report
from bench.measures.catalogue import BY_NAME
from bench.measures.large import READY
from bench.profile import summary
from bench.rows import Result

RAW = """\
<module> (worker/__main__.py:5);run (asyncio/runners.py:190);seal (common/storage/seal.py:40);update (hashlib.py:3) 30
<module> (worker/__main__.py:5);run (asyncio/runners.py:190) 10
_worker (concurrent/futures/thread.py:81) 5
"""


@pytest.fixture
def result() -> Result:
    found = Result(conditions=["Said once."], form="full", machine="2 cores", at="2026-11-20 15:00", load="0.1")
    for who, values in (("@tus/server", [100.0, 120.0, 110.0]), ("Sluice, receipts", [220.0])):
        for value in values:
            found.add("4 connections", who, READY, value)
    found.skipped["tusd"] = "no go on this machine"
    return found


def test_a_row_has_median_spread_and_ratio(result: Result) -> None:
    text = report.section(BY_NAME["large"], result)
    assert "| 4 connections | @tus/server | 110 | 100 to 120 |  |" in text
    assert "| 4 connections | Sluice, receipts | 220 | one run | 2.00 |" in text


def test_what_could_not_be_measured_stands_under_the_tables_with_the_reason(result: Result) -> None:
    assert "Left out: tusd (no go on this machine)." in report.section(BY_NAME["large"], result)


def test_machine_and_time_stand_above_the_tables(result: Result) -> None:
    assert "- 2026-11-20 15:00 UTC, load 0.1 at the end, full form: 2 cores." in report.section(
        BY_NAME["large"], result
    )


def test_only_what_is_between_the_marks_is_written(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is installed by `make bench` only")
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "FIGURES", tmp_path)
    report.write({"large": result})
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "old" not in written
    assert (tmp_path / "bench-large.svg").read_text().startswith("<?xml")


def test_every_workload_has_a_figure() -> None:
    plots = pytest.importorskip("bench.plots", reason="matplotlib is installed by `make bench` only")
    assert set(plots.DRAWN) == set(BY_NAME)


def test_the_page_has_its_marks() -> None:
    text = report.PAGE.read_text()
    assert report.BEGIN in text
    assert report.END in text


def test_a_profile_counts_for_the_innermost_function_of_ours_and_leaves_waiting_threads_out() -> None:
    assert summary(RAW, seconds=1.0) == [
        "30 % | `seal` of common/storage/seal.py, in hashlib.py",
        "10 % | the event loop itself: C code, and waiting",
    ]
