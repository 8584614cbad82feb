"""Metrics stand in the catalogue and are used; log events are constant names."""

import ast
import re
from collections.abc import Iterator
from typing import get_args

from common.states import JobKind
from common.vitals import OUTCOMES, REASONS, Part
from docs.generate import catalogue

SERVICE = ("gateway", "worker", "common")
EVENT = re.compile(r"[a-z_]+(\.[a-z_]+)?")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
CATALOGUE = "common/telemetry.py"
NOT_METRICS = {"render", "registry", "content_type"}


def service(modules: dict[str, str]) -> Iterator[tuple[str, ast.AST]]:
    """(module, node) of the whole service."""
    for name, text in modules.items():
        if name.split("/")[0] in SERVICE:
            yield from ((name, node) for node in ast.walk(ast.parse(text)))


def used_metrics(modules: dict[str, str]) -> dict[str, str]:
    """Attribute of a `metrics` object -> a module that uses it."""
    return {
        node.attr: name
        for name, node in service(modules)
        if isinstance(node, ast.Attribute) and ends_in_metrics(node.value) and node.attr not in NOT_METRICS
    }


def ends_in_metrics(node: ast.expr) -> bool:
    """`metrics`, `self._metrics`, `context.metrics`."""
    last = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return last.lstrip("_") == "metrics"


def test_every_metric_that_is_used_stands_in_the_catalogue(modules: dict[str, str]) -> None:
    known = {attribute for attribute, _ in catalogue()}
    assert {f"{module}: {name}" for name, module in used_metrics(modules).items() if name not in known} == set()


def test_every_metric_of_the_catalogue_is_used(modules: dict[str, str]) -> None:
    assert {attribute for attribute, _ in catalogue()} - set(used_metrics(modules)) == set()


def test_no_metric_is_made_outside_the_catalogue(modules: dict[str, str]) -> None:
    made = {
        name
        for name, node in service(modules)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client")
    }
    assert made == {CATALOGUE}


def log_calls(modules: dict[str, str]) -> Iterator[tuple[str, ast.Call]]:
    for name, node in service(modules):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "log"
        ):
            yield f"{name}:{node.lineno}", node


def events(argument: ast.expr) -> list[str | None]:
    """The names that an argument may be; None for what is not a constant text."""
    if isinstance(argument, ast.IfExp):
        return [*events(argument.body), *events(argument.orelse)]
    return [argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None]


def test_every_log_event_is_a_constant_name(modules: dict[str, str]) -> None:
    calls = list(log_calls(modules))
    assert len(calls) > 20
    wrong = [
        where
        for where, call in calls
        if not call.args or any(event is None or not EVENT.fullmatch(event) for event in events(call.args[0]))
    ]
    assert wrong == []


def test_a_log_call_has_an_event_and_fields_only(modules: dict[str, str]) -> None:
    assert [where for where, call in log_calls(modules) if len(call.args) != 1] == []


def test_the_labels_that_a_counter_begins_with_are_those_that_are_used(modules: dict[str, str]) -> None:
    """Ends of attempts are returned where they are settled, reasons of the sweep are given to the counter."""
    outcomes = set(re.findall(r'return "([a-z_]+)"', modules["worker/settling.py"]))
    worker = "".join(text for name, text in modules.items() if name.startswith("worker/"))
    given = re.findall(r"swept\.labels\(reason=(.*)\)|_count\((.*)\)", worker)
    reasons = set(re.findall(r'"([a-z_]+)"', str(given)))
    assert (outcomes, reasons) == (set(OUTCOMES), set(REASONS))


def test_the_page_names_every_value_of_a_label(texts: dict[str, str]) -> None:
    page = texts["docs/metrics.md"].partition("Values of the labels:")[2]
    values = {*OUTCOMES, *REASONS, *JobKind, *get_args(Part)}
    assert {str(value) for value in values if f"`{value}`" not in page} == set()
