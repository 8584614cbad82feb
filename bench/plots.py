"""One figure for each workload, as SVG. Ours in one colour everywhere, the references in grey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot

from bench.measures import download, finalize, large, listing, memory, queue, small, streams
from bench.measures.contenders import NODE
from bench.rows import Result, Row

OURS, OURS_LIGHT, OURS_SAFE = "#0b6e99", "#5fb3d4", "#0f7b6c"
COLOURS = {"@tus/server": "#d9730d", "tusd": "#b59a2a", "tuspyserver": "#8a6bbf", "resumable-upload": "#ad1a72"}
GREY, LINE = "#9a9a97", "#d8d8d5"
LOOKS = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "svg.hashsalt": "sluice",
    "svg.fonttype": "none",
    "legend.frameon": False,
}
Draw = Callable[[Result], Any]


def draw(results: dict[str, Result], folder: Path) -> dict[str, tuple[str, ...]]:
    """Write the figures; their file names by workload."""
    names = {}
    with mpl.rc_context(LOOKS):
        for workload, result in results.items():
            names[workload] = tuple(f"bench-{name}.svg" for name in DRAWN[workload])
            for name, drawn in DRAWN[workload].items():
                _save(drawn(result), folder / f"bench-{name}.svg")
    return names


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def bars(axes: Any, result: Result, unit: str, case: str, title: str) -> None:
    """The candidates of one case, the best on top, with the spread as a thin line and the number at the end."""
    rows = sorted((row for row in result.rows if (row.unit, row.case) == (unit, case) and row.values), key=_median)
    widest = max((max(row.values) for row in rows), default=1.0)
    for place, row in enumerate(rows):
        axes.barh(place, row.median, color=_colour(row.who), height=0.68)
        axes.plot([min(row.values), max(row.values)], [place, place], color="#333333", linewidth=1)
        axes.text(max(row.values) + widest * 0.015, place, _short(row.median), va="center", color="#333333")
    axes.set_yticks(range(len(rows)), [row.who for row in rows])
    axes.set_xlim(0, widest * 1.15)
    axes.set_title(title)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _median(row: Row) -> float:
    return row.median


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _colour(who: str) -> str:
    if who in streams.STREAMS.values():
        return OURS_LIGHT
    if who.startswith("Sluice") or who == streams.CHUNKS:
        return OURS_SAFE if "fsync" in who or "behind" in who else OURS_LIGHT if "receipts" in who else OURS
    return COLOURS.get(who.partition(",")[0], GREY)


def _stacked(result: Result, unit: str, cases: list[str], title: str) -> Any:
    found = [case for case in cases if any(row.case == case and row.unit == unit for row in result.rows)]
    heights = [sum(1 for row in result.rows if (row.unit, row.case) == (unit, case)) + 1.2 for case in found]
    figure, panels = pyplot.subplots(
        len(found),
        1,
        figsize=(7.6, 0.27 * sum(heights) + 0.5),
        squeeze=False,
        height_ratios=heights,
        layout="constrained",
    )
    for axes, case in zip(panels[:, 0], found, strict=True):
        bars(axes, result, unit, case, case)
    panels[-1, 0].set_xlabel(unit)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
    return figure


def _large(result: Result) -> Any:
    cases = [large.case(number) for number in (1, 4, 16)]
    figure = _stacked(result, large.READY, cases, "One large file until it can be downloaded (longer is better)")
    node = result.find(cases[1], NODE, large.READY)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left") == cases[1]]
    for axes in panels if node is not None and node.values else ():
        for factor in (1.3, 1.8):
            axes.axvline(factor * node.median, color="#333333", linestyle=":", linewidth=1)
            above = axes.get_xaxis_transform()  # x of the data, y from the bottom (0) to the top (1) of the panel
            place, style = factor * node.median, {"ha": "center", "va": "bottom", "fontsize": 8}
            axes.text(place, 1.0, f"{factor}x", color="#333333", transform=above, **style)
        axes.set_title(f"{cases[1]} (dotted: our targets, in times of {NODE})", pad=16)
    return figure


def _cpu(result: Result) -> Any:
    """Each server's processes on top of each other: what one GiB over one connection costs."""
    figure, axes = pyplot.subplots(figsize=(7.6, 2.9), layout="constrained")
    found = [row for row in result.rows if row.unit == large.CPU and row.case == large.case(1) and row.values]
    shares: dict[str, dict[str, float]] = {}
    for row in found:
        server, _, part = row.who.partition(": ")
        shares.setdefault(server, {})[part] = row.median
    order = sorted(shares, key=lambda server: -sum(shares[server].values()))
    for place, server in enumerate(order):
        left = 0.0
        for part, seconds in shares[server].items():
            axes.barh(place, seconds, left=left, color=_colour(server), height=0.68, edgecolor="white")
            if seconds > 0.25 and part:
                axes.text(left + seconds / 2, place, part, ha="center", va="center", color="white", fontsize=8)
            left += seconds
        axes.text(left + 0.03, place, f"{left:.2f}", va="center", color="#333333")
    axes.set_yticks(range(len(order)), order)
    axes.set(title="CPU of a server for one GiB over 1 connection (shorter is better)", xlabel=large.CPU)
    axes.grid(axis="y", visible=False)
    return figure


def _small(result: Result) -> Any:
    cases = list(dict.fromkeys(row.case for row in result.rows))
    return _stacked(result, small.RATE, cases, "Small files over 16 connections (longer is better)")


def _download(result: Result) -> Any:
    cases = [download.WHOLE, download.WHOLE_4, download.RANGES]
    return _stacked(result, download.RATE, cases, "Downloads from the page cache (longer is better)")


def _lines(axes: Any, result: Result, unit: str, where: Callable[[str], float]) -> None:
    """One line for each candidate over its cases."""
    whos = list(dict.fromkeys(row.who for row in result.rows if row.unit == unit))
    rows = [row for row in result.rows if row.unit == unit and row.values]
    for who in whos:
        points = sorted((where(row.case), row.median) for row in rows if row.who == who)
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=who, color=_colour(who))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _bytes(case: str) -> float:
    number, unit = case.split()
    return float(number) * {"MiB": 1, "GiB": 1024}[unit]


def _finalize(result: Result) -> Any:
    figure, axes = pyplot.subplots(figsize=(7.6, 3.4), layout="constrained")
    _lines(axes, result, finalize.TIME, _bytes)
    axes.set(
        xscale="log",
        yscale="log",
        ylabel="until ready",
        title="Finalize alone, by size of the file (lower is better)",
    )
    cases = sorted({row.case for row in result.rows}, key=_bytes)
    axes.set_xticks([_bytes(case) for case in cases], cases)
    highest = max(row.median for row in result.rows if row.unit == finalize.TIME)
    decades = [10**power for power in range(1, 7) if 10 ** (power - 1) < highest]
    axes.set_yticks(decades, [f"{ms / 1000:,g} s" if ms >= 1000 else f"{ms} ms" for ms in decades])
    axes.set_ylim(10, decades[-1])
    axes.minorticks_off()
    return figure


def _memory(result: Result) -> Any:
    figure, axes = pyplot.subplots(figsize=(7.6, 3.4), layout="constrained")
    places = {
        row.case: float(row.case.split()[0].replace(",", "")) if row.case != memory.IDLE else 0.0 for row in result.rows
    }
    _lines(axes, result, memory.RSS, places.__getitem__)
    axes.plot([256], [160], marker="v", color="#333333", linestyle="none")
    axes.annotate("budget", (256, 160), (0, 6), textcoords="offset points", ha="center", color="#333333", fontsize=8)
    axes.set(
        xlabel="slow uploads at once",
        ylabel="MiB RSS",
        title="Memory with slow uploads (lower is better)",
        ylim=(0, None),
    )
    return figure


def _queue(result: Result) -> Any:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.6, 3.0), layout="constrained")
    rows = [row for row in result.rows if row.unit == queue.START and row.case == "idle" and row.values]
    for place, row in enumerate(rows):
        left.bar(place, row.median, color=OURS if queue.P50 in row.who else OURS_LIGHT, width=0.6)
        left.text(place, row.median, f"{row.median:.1f}", ha="center", va="bottom")
        budget = 20 if queue.P50 in row.who else 100
        left.hlines(budget, place - 0.35, place + 0.35, color="#333333", linestyle=":", linewidth=1.2)
    left.set_xticks(range(len(rows)), [row.who.replace(": ", "\n") for row in rows])
    left.margins(y=0.12)
    left.set(title="Queued to started, idle (lower is better)", ylabel="ms (dotted: budget)")
    left.grid(axis="x", visible=False)
    rates = [row for row in result.rows if row.unit == queue.RATE and row.values]
    for name, colour in (("SQLite", OURS), ("PostgreSQL", OURS_SAFE)):
        points = [(int(row.who.split(", ")[1].split()[0]), row.median) for row in rates if row.who.startswith(name)]
        if points:
            right.plot(*zip(*sorted(points), strict=True), marker="o", label=name, color=colour)
    right.set(
        title="Finalize jobs (higher is better)",
        xlabel="workers",
        ylabel="jobs/s",
        ylim=(0, None),
        xticks=queue.WORKERS,
    )
    right.legend(loc="best")
    return figure


def _listing(result: Result) -> Any:
    cases = list(dict.fromkeys(row.case for row in result.rows))
    whos = list(dict.fromkeys(row.who for row in result.rows))
    figure, axes = pyplot.subplots(figsize=(7.6, 4.2), layout="constrained")
    colours, height = [OURS_LIGHT, OURS, "#8fcabf", OURS_SAFE], 0.8 / max(1, len(whos))
    for number, who in enumerate(whos):
        found = [result.find(case, who, listing.P99) for case in cases]
        values = [row.median if row and row.values else 0.0 for row in found]
        places = [place + number * height for place in range(len(cases))]
        axes.barh(places, values, height=height, label=who, color=colours[number % len(colours)])
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(cases))], cases)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlabel="ms, p99", title="Listing and polling, few and many files (shorter is better)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _streams(result: Result) -> Any:
    cases = list(dict.fromkeys(row.case for row in result.rows))
    return _stacked(result, large.READY, cases, "One large file in one request (longer is better)")


DRAWN: dict[str, dict[str, Draw]] = {
    "large": {"large": _large, "cpu": _cpu},
    "small": {"small": _small},
    "finalize": {"finalize": _finalize},
    "queue": {"queue": _queue},
    "memory": {"memory": _memory},
    "download": {"download": _download},
    "listing": {"listing": _listing},
    "streams": {"streams": _streams},
}
