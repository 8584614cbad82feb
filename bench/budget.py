"""The targets of the design, each beside what a run measured. A target whose rows are missing is not judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.forms import FORMS
from bench.measures.contenders import BARE, BY_TUS, DEFAULT, NODE, RECEIPTS, TUSD
from bench.measures.download import NGINX, WHOLE
from bench.measures.download import RATE as DOWNLOADED
from bench.measures.finalize import RATE as READ_BACK
from bench.measures.finalize import TIME
from bench.measures.finalize import case as size_name
from bench.measures.large import HASHLIB, READY, RECEIVED
from bench.measures.listing import P99
from bench.measures.memory import RSS
from bench.measures.queue import IDLE, START
from bench.measures.small import RATE as SMALL
from bench.rows import Result

Results = dict[str, Result]


@dataclass(frozen=True)
class Verdict:
    """`met` is None where it is for the reader to see, with no number in the design."""

    target: str
    measured: str
    met: bool | None


def verdicts(results: Results) -> list[Verdict]:
    """Those that can be judged, in the order of the design."""
    return [verdict for judge in JUDGES for verdict in judge(results)]


def _ratio(results: Results, workload: str, ours: tuple[str, str, str], theirs: tuple[str, str, str]) -> float | None:
    first, second = (_median(results, workload, *key) for key in (ours, theirs))
    return first / second if first and second else None


def _median(results: Results, workload: str, case: str, who: str, unit: str) -> float | None:
    row = results[workload].find(case, who, unit) if workload in results else None
    return row.median if row and row.values else None


def _at_least(target: str, ratio: float | None, least: float) -> Iterator[Verdict]:
    if ratio is not None:
        yield Verdict(f"{target}: at least {least:g}x", f"{ratio:.2f}x", ratio >= least)


def _big(results: Results) -> str:
    """The design asks for 1 GiB; the short form sends less, and says so."""
    return size_name(FORMS[results["large"].form].big) if "large" in results else ""


def _large(results: Results) -> Iterator[Verdict]:
    four = "4 connections"
    for who, rival, least in ((RECEIPTS, NODE, 1.8), (DEFAULT, NODE, 1.3), (RECEIPTS, TUSD, 1.0)):
        found = _ratio(results, "large", (four, who, READY), (four, rival, READY))
        yield from _at_least(f"{_big(results)} over 4 connections, {who} against {rival}", found, least)
    for case in ("1 connection", four):
        found = _ratio(results, "large", (case, DEFAULT, RECEIVED), (case, BARE, RECEIVED))
        yield from _at_least(f"receiving over {case} against the bare handler", found, 0.8)
    found = _ratio(results, "large", ("1 connection", BY_TUS, READY), ("1 connection", DEFAULT, READY))
    yield from _at_least("one stream by tus against our own surface", found, 0.9)


def _finalize(results: Results) -> Iterator[Verdict]:
    for case in ("1 GiB", "10 GiB"):
        found = _ratio(results, "finalize", (case, DEFAULT, READ_BACK), (case, HASHLIB, READ_BACK))
        yield from _at_least(f"reading back {case} against bare hashlib", found, 0.85)
    times = {
        row.case: row.median
        for row in (results["finalize"].rows if "finalize" in results else [])
        if row.who == RECEIPTS and row.unit == TIME and row.values
    }
    if len(times) > 1:
        slowest, quickest = max(times, key=times.__getitem__), min(times, key=times.__getitem__)
        spread = times[slowest] / times[quickest]
        measured = f"{times[quickest]:.0f} ms at {quickest}, {times[slowest]:.0f} ms at {slowest}: {spread:.2f}x"
        yield Verdict("finalize with receipts, 1 MiB to 100 GiB: within 1.5x", measured, spread <= 1.5)


def _small(results: Results) -> Iterator[Verdict]:
    case = "files of 64 KiB"
    found = _ratio(results, "small", (case, DEFAULT, SMALL), (case, NODE, SMALL))
    yield from _at_least(f"64 KiB files against create and append of {NODE}", found, 0.5)
    yield from _at_least(f"64 KiB files, in the end ahead of {NODE}", found, 1.0)


def _queue(results: Results) -> Iterator[Verdict]:
    for database in ("SQLite", "PostgreSQL"):
        for name, most in (("p50", 20.0), ("p99", 100.0)):
            found = _median(results, "queue", "idle", f"{database}: {name}", START)
            if found is not None:
                target = f"queued to started, {database}, {name}: at most {most:.0f} ms"
                yield Verdict(target, f"{found:.1f} ms", found <= most)
        idle = _median(results, "queue", "idle", f"{database}: one worker", IDLE)
        if idle is not None:
            yield Verdict(f"idle worker, {database}: at most 2 % of a core", f"{idle:.1f} %", idle <= 2.0)


def _memory(results: Results) -> Iterator[Verdict]:
    found = _median(results, "memory", "256 slow uploads", "Sluice: gateway", RSS)
    if found is not None:
        yield Verdict("gateway at 256 slow uploads: at most 160 MiB RSS", f"{found:.0f} MiB", found <= 160)


def _download(results: Results) -> Iterator[Verdict]:
    found = _ratio(results, "download", (WHOLE, DEFAULT, DOWNLOADED), (WHOLE, NGINX, DOWNLOADED))
    if found is not None:
        yield Verdict("downloads beside nginx (the design has no number)", f"{found:.2f}x", None)


def _listing(results: Results) -> Iterator[Verdict]:
    rows = results["listing"].rows if "listing" in results else []
    for database in ("SQLite", "PostgreSQL"):
        found = [row for row in rows if row.who.startswith(database) and row.unit == P99 and row.values]
        sizes = list(dict.fromkeys(row.who for row in found))
        if len(sizes) < 2:
            continue
        few, many = sizes[0], sizes[-1]
        ratios = {
            row.case: row.median / other.median
            for row in found
            for other in found
            if row.who == many and other.who == few and row.case == other.case
        }
        worst = max(ratios, key=ratios.__getitem__)
        target = f"listing p99, {many} against {few.partition(', ')[2]}: within 2x"
        yield Verdict(target, f"{ratios[worst]:.2f}x at most ({worst})", ratios[worst] <= 2.0)


JUDGES: tuple[Callable[[Results], Iterator[Verdict]], ...] = (
    _large, _finalize, _small, _queue, _memory, _download, _listing
)  # fmt: skip
