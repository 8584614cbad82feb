"""The generated tables are what the classes say now, and what stands beside them is complete."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import Field

from common import settings
from common.errors import SluiceError, all_errors
from common.settings import variable_names
from common.telemetry import Metrics
from docs import generate

FOREIGN = ("process_", "python_")  # metrics of the Prometheus client itself


def rows(root: Path, page: str) -> list[str]:
    """The first cell of every table row, without backticks."""
    text = (root / "docs" / page).read_text()
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_the_committed_tables_are_what_make_docs_writes() -> None:
    assert [path.name for path in generate.stale()] == [], "run `make docs` and commit the result"


def test_a_new_setting_makes_the_committed_page_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wider(settings.LogSettings):
        log_extra: int = Field(1, description="New.")

    monkeypatch.setitem(settings.GROUPS, "logs", Wider)
    assert [path.name for path in generate.stale()] == ["settings.md"]


def test_an_error_without_advice_stops_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(generate.ADVICE, "chunk_busy")
    with pytest.raises(SystemExit, match="chunk_busy"):
        generate.errors_table()


def test_advice_is_given_for_codes_that_exist_only() -> None:
    assert set(generate.ADVICE) == {cls.code for cls in all_errors()}


def test_every_setting_has_its_row(root: Path) -> None:
    assert rows(root, "settings.md") == variable_names()


def test_every_error_code_has_its_row(root: Path) -> None:
    assert sorted(rows(root, "errors.md")) == sorted(cls.code for cls in all_errors())


def test_no_two_errors_share_a_code() -> None:
    codes = [cls.code for cls in all_errors()]
    assert [code for code in codes if codes.count(code) > 1] == []


def test_every_error_stands_in_the_tree_of_its_module() -> None:
    assert set(generate.meanings()) == {cls.__name__ for cls in all_errors()}, SluiceError.__module__


def test_every_exported_metric_has_its_row(root: Path) -> None:
    families = text_string_to_metric_families(Metrics().render().decode())
    exported = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if not family.name.startswith(FOREIGN)
    }
    # Counters also export the time of their creation; nobody queries it by name.
    documented = set(rows(root, "metrics.md"))
    assert documented == {name for name in exported if not name.endswith("_created")}


def test_every_value_of_the_worker_labels_is_explained(root: Path) -> None:
    said = (root / "docs/metrics.md").read_text()
    found = {*counted_reasons(root), *outcomes(root)}
    assert {"expired", "bell_lost", "succeeded", "given_back"} <= found
    assert [value for value in sorted(found) if f"`{value}`" not in said] == []


def counted_reasons(root: Path) -> Iterator[str]:
    for path in (root / "worker").glob("*.py"):
        text = path.read_text()
        yield from re.findall(r'reason="(\w+)"', text)
        yield from re.findall(r'_count\("(\w+)"', text)


def outcomes(root: Path) -> Iterator[str]:
    """The texts that the functions which end an attempt return."""
    for node in ast.walk(ast.parse((root / "worker/settling.py").read_text())):
        if isinstance(node, ast.AsyncFunctionDef) and node.name in {"settle", "_succeeded", "_given_back", "_failed"}:
            returned = (step.value for step in ast.walk(node) if isinstance(step, ast.Return))
            yield from (v.value for v in returned if isinstance(v, ast.Constant) and isinstance(v.value, str))
