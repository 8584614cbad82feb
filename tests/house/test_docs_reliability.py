"""docs/reliability.md names tests that exist, for every promise, and shows a table without losses."""

import ast
import re
from pathlib import Path

import pytest

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISE = re.compile(r"^\*\*(I\d+) ", re.MULTILINE)
NEVER = ("chunks lost", "chunks altered", "stuck jobs", "orphans")


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs/reliability.md").read_text()


def test_every_test_that_is_named_exists(page: str, modules: dict[str, str]) -> None:
    named = NAMED.findall(page)
    assert len(named) > 30
    wrong = [f"{module}::{name}" for module, name in named if name not in functions(modules.get(module, ""))]
    assert wrong == []


def functions(text: str) -> set[str]:
    nodes = ast.walk(ast.parse(text))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_promise_has_a_test(page: str) -> None:
    parts = PROMISE.split(page.partition("\n## The suite can fail")[0])[1:]
    found = dict(zip(parts[0::2], parts[1::2], strict=True))
    assert list(found) == [f"I{number}" for number in range(1, 11)]
    assert [promise for promise, text in found.items() if not NAMED.search(text)] == []


def test_the_tables_show_nothing_lost(page: str) -> None:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    rows = [dict(zip(lines[0], cells, strict=True)) for cells in lines if cells[0] != "fault" and "---" not in cells[0]]
    rows = [row for row in rows if not row["fault"].startswith("must be red")]  # the controls
    assert len(rows) > 3
    assert [row for row in rows if any(row[name] not in ("", "0") for name in NEVER)] == []
