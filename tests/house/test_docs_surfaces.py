"""docs/protocol.md says of every rule of tus and of the draft which test shows it, or why it does not hold."""

import ast
import re
from pathlib import Path

import pytest

TABLES = {"What tus 1.0 asks for": 45, "What the draft asks for": 38}
"""Heading -> fewest rows."""
FOLDER = re.compile(r"test of `(tests/[\w/]+/)`")
NAMED = re.compile(r"`((?:tests/[\w/]+/)?test_\w+\.py)::(\w+)`")


@pytest.fixture(scope="module", params=TABLES)
def section(request: pytest.FixtureRequest, root: Path) -> str:
    """What stands below one of the headings, which it begins with."""
    text = (root / "docs/protocol.md").read_text()
    (found,) = re.findall(rf"^## ({re.escape(request.param)}\n.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return str(found)


def rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| section ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_rule_has_a_test_or_a_reason(section: str) -> None:
    found = rows(section)
    assert len(found) >= TABLES[section.partition("\n")[0]]
    assert [row for row in found if len(row) != 3 or not (NAMED.search(row[2]) or len(row[2].split()) > 2)] == []


def test_every_test_that_is_named_exists(section: str, modules: dict[str, str]) -> None:
    folder = FOLDER.search(section)
    assert folder is not None
    named = {(name if "/" in name else folder[1] + name, test) for name, test in NAMED.findall(section)}
    assert len(named) > 20
    assert {(name, test) for name, test in named if test not in functions(modules.get(name, ""))} == set()


def functions(text: str) -> set[str]:
    nodes = ast.walk(ast.parse(text))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
