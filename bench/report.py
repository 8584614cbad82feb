"""Tables and verdicts as Markdown, and their place in docs/performance.md between two marks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bench import budget
from bench.measures.catalogue import BY_NAME, WORKLOADS, Workload
from bench.rows import Result, Row
from bench.setting import ROOT

PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "docs" / "figures"
BEGIN, END = "<!-- bench: begin, written by `make bench-full` -->", "<!-- bench: end -->"
MET = {True: "met", False: "**missed**", None: ""}


def load(path: Path) -> dict[str, Result]:
    """The workloads of a JSON file, in the order of a run."""
    found = json.loads(path.read_text())["workloads"]
    return {one.name: Result.of_json(found[one.name]) for one in WORKLOADS if one.name in found}


def write(results: dict[str, Result]) -> None:
    """The page and its figures anew. Raises ValueError when the page has lost its marks."""
    from bench import plots

    drawn = plots.draw(results, FIGURES)
    page = PAGE.read_text()
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{PAGE.name} has no {BEGIN!r} with {END!r} behind it")
    parts = [verdicts(results)]
    for name, result in results.items():
        parts.append(section(BY_NAME[name], result, drawn.get(name, ())))
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}")
    print(f"written: {PAGE.relative_to(ROOT)} and {sum(map(len, drawn.values()))} figures")


def verdicts(results: dict[str, Result]) -> str:
    """Every target of the design that these results can judge."""
    lines = ["### Targets", "", "| target | measured | |", "|---|---|---|"]
    lines += [f"| {one.target} | {one.measured} | {MET[one.met]} |" for one in budget.verdicts(results)]
    return "\n".join(lines)


def section(workload: Workload, result: Result, figures: tuple[str, ...] = ()) -> str:
    """Heading, conditions, figure, one table for each unit, what was left out, profiles."""
    parts = [f"### {workload.title}", _conditions(result)]
    parts += [f"![{workload.title}](figures/{figure})" for figure in figures]
    units = list(dict.fromkeys(row.unit for row in result.rows if row.values))
    parts += [_table(unit, workload, result) for unit in units]
    if result.skipped:
        parts.append("Left out: " + "; ".join(f"{who} ({why})" for who, why in result.skipped.items()) + ".")
    for name, lines in result.profiles.items():
        rows = [f"| {share} | {where} |" for share, _, where in (line.partition(" | ") for line in lines)]
        parts.append("\n".join([f"Profile (py-spy) of the {name}:", "", "| of a core | where |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def _conditions(result: Result) -> str:
    said = [f"{result.at} UTC, load {result.load} at the end, {result.form} form: {result.machine}."]
    said += result.conditions
    if result.driver_cpu is not None:
        said.append(f"The driver took {result.driver_cpu:.0f} % of a core.")
    return "\n".join(f"- {line}" for line in said if not line.startswith(" UTC"))


def _table(unit: str, workload: Workload, result: Result) -> str:
    reference = workload.reference.get(unit)
    head = ["case", "who", unit, "spread", *([f"of {reference}"] if reference else []), "note"]
    rows = [row for row in result.rows if row.unit == unit and row.values]
    noted = any(row.note for row in rows)
    lines = [_line(head[: len(head) - (not noted)]), _line(["---"] * (len(head) - (not noted)))]
    for row in _by_case(rows):
        cells = [row.case, row.who, _number(row.median), _spread(row)]
        if reference:
            cells.append(_ratio(row, result.find(row.case, reference, unit)))
        lines.append(_line([*cells, *([row.note] if noted else [])]))
    return "\n".join(lines)


def _by_case(rows: list[Row]) -> Iterator[Row]:
    """The rows of one case after each other, in the order in which the cases came."""
    for case in dict.fromkeys(row.case for row in rows):
        yield from (row for row in rows if row.case == case)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(row: Row, reference: Row | None) -> str:
    if reference is None or not reference.values or reference is row or reference.median == 0:
        return ""
    return f"{row.median / reference.median:.2f}"


def _spread(row: Row) -> str:
    return f"{_number(min(row.values))} to {_number(max(row.values))}" if len(row.values) > 1 else "one run"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
