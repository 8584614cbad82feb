"""Alerts and their lines in docs/operations.md are the same, and the dashboard says what it shows."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

RULES = "deploy/k8s/components/monitoring/alerts.yaml"
DASHBOARD = "deploy/grafana/dashboard.json"
SCHEMA_VERSIONS = range(36, 43)  # of Grafana 9 to 12; newer ones bring older files up to theirs
UNITS = {"short", "s", "bytes", "Bps", "reqps", "ops", "percentunit"}  # ids of Grafana
WIDTH = 24  # columns of a dashboard


@pytest.fixture(scope="module")
def rules(texts: dict[str, str]) -> dict[str, Any]:
    """Alert -> rule."""
    [group] = yaml.safe_load(texts[RULES])["spec"]["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


@pytest.fixture(scope="module")
def lines(texts: dict[str, str]) -> dict[str, list[str]]:
    """Alert -> the cells of its line: what it means, what to look at first, what to do."""
    section = texts["docs/operations.md"].partition("\n## Alerts\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE)
    assert len({name for name, _ in rows}) == len(rows)
    return {name: [cell.strip() for cell in re.split(r"(?<!\\)\|", rest)] for name, rest in rows}


def test_every_alert_has_a_line_in_the_runbook(rules: dict[str, Any], lines: dict[str, list[str]]) -> None:
    assert set(rules) - set(lines) == set()


def test_every_line_of_the_runbook_is_about_an_alert(rules: dict[str, Any], lines: dict[str, list[str]]) -> None:
    assert set(lines) - set(rules) == set()


def test_a_line_says_what_it_means_where_to_look_and_what_to_do(lines: dict[str, list[str]]) -> None:
    assert {name: cells for name, cells in lines.items() if len(cells) != 3 or not all(cells)} == {}


def test_the_line_of_an_alert_names_its_bound(rules: dict[str, Any], lines: dict[str, list[str]]) -> None:
    """Those that compare with a time or a share: who changes the rule changes the line."""
    named = {
        "SluiceServerErrors": ("> 0.05", "5 %"),
        "SluiceJobsFail": ("> 0.1", "10 %"),
        "SluiceJobsWait": ("> 120", "2 min"),
        "SluiceJobUnfinished": ("> 3600", "1 h"),
        "SluiceSweepStands": ("> 120", "2 min"),
        "SluiceLoopLate": ("> 0.5", "0.5 s"),
        "SluiceStorageFills": ("4 * 3600", "4 h"),
    }
    for name, (bound, words) in named.items():
        assert bound in rules[name]["expr"], name
        assert words in lines[name][0], name


@pytest.fixture(scope="module")
def dashboard(texts: dict[str, str]) -> dict[str, Any]:
    return dict(json.loads(texts[DASHBOARD]))


@pytest.fixture(scope="module")
def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def test_the_dashboard_has_a_version_that_grafana_reads(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] in SCHEMA_VERSIONS


def test_every_panel_says_what_it_shows_and_in_which_unit(panels: list[dict[str, Any]]) -> None:
    assert [panel["title"] for panel in panels if len(panel["description"]) < 20] == []
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in panels} <= UNITS


def test_no_two_panels_cover_each_other(dashboard: dict[str, Any]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_every_query_is_about_the_chosen_namespace_and_source(panels: list[dict[str, Any]]) -> None:
    for panel in panels:
        for target in panel["targets"]:
            asked = re.findall(r"sluice_\w+(\{namespace=~\"\$namespace\")?", target["expr"])
            assert all(asked), target["expr"]
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"


def test_no_panel_is_kept_twice(root: Path) -> None:
    """One file is the source; what Kubernetes gets is made from it."""
    assert [path.relative_to(root).as_posix() for path in (root / "deploy").rglob("dashboard*.json")] == [DASHBOARD]
