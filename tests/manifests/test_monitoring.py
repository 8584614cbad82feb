"""Alerts and dashboards name metrics that exist, and each alert leads to a paragraph that says what to do."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.manifests.checks.environment import settings
from tests.manifests.checks.metrics import dashboards, mistakes, queries
from tests.manifests.objects import Manifests, Object

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
QUESTIONS = ["Is it accepting?", "Is it finishing?", "How old is the oldest?", "What fails?"]


def rules(manifests: Manifests) -> list[Object]:
    (group,) = manifests.one("PrometheusRule", "sluice")["spec"]["groups"]
    found: list[Object] = group["rules"]
    return found


def rule(manifests: Manifests, name: str) -> Object:
    (found,) = [rule for rule in rules(manifests) if rule["alert"] == name]
    return found


def paragraphs() -> set[str]:
    """Beginnings of the runbook: what is bold at the start of a paragraph, and headings."""
    runbook = OPERATIONS.read_text().partition("\n## Runbook\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\*\*(.+?)\*\*", runbook, re.MULTILINE) + re.findall(r"^### (.+)$", runbook, re.MULTILINE)
    return {words.replace("`", "") for words in found}


def without_paragraph(manifests: Manifests) -> list[str]:
    return [rule["alert"] for rule in rules(manifests) if rule["annotations"]["runbook"] not in paragraphs()]


def test_every_query_asks_for_metrics_of_the_catalogue(production_s3: Manifests) -> None:
    assert len(list(queries(production_s3))) > len(rules(production_s3))
    assert list(mistakes(production_s3)) == []


def test_every_alert_leads_to_a_paragraph_of_the_runbook(production_s3: Manifests) -> None:
    assert without_paragraph(production_s3) == []


def test_every_alert_says_how_bad_it_is_and_what_it_is(production_s3: Manifests) -> None:
    for each in rules(production_s3):
        assert each["labels"]["severity"] in ("critical", "warning")
        assert each["annotations"]["summary"]


def test_the_bound_of_held_bytes_is_half_of_the_setting(production_s3: Manifests) -> None:
    bound = re.search(r"> (\d+) \* 1024 \* 1024", rule(production_s3, "SluiceIntakeFull")["expr"])
    assert bound is not None
    memory = settings(production_s3, production_s3.pod("gateway").main).http.intake_memory
    assert int(bound[1]) * 2**20 * 2 == memory


def test_the_dashboard_answers_the_four_questions(production_s3: Manifests) -> None:
    (dashboard,) = dashboards(production_s3)
    assert [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"] == QUESTIONS
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))


def expression(text: str) -> Callable[[Manifests], object]:
    return lambda manifests: rules(manifests)[0].update(expr=text)


CONTROLS: list[tuple[str, Callable[[Manifests], object]]] = [
    ("no metric sluice_job_total", expression("rate(sluice_job_total[5m])")),
    ("no metric sluice_job_seconds", expression("rate(sluice_job_seconds[5m])")),
    ("nothing of sluice_jobs_total", expression("sluice_jobs_total > 5")),
    ("rate of sluice_intake_bytes", expression("rate(sluice_intake_bytes[5m])")),
    ("sluice_jobs has no label code", expression('rate(sluice_jobs_total{code="x"}[5m])')),
    ("no code nonsense", expression('rate(sluice_refused_total{code="nonsense"}[5m])')),
    ("no kind laundry", expression('sluice_jobs_running{kind="laundry"}')),
    ("asks for no metric", expression("up == 0")),
    ("grouped by code, which nothing has", expression("sum by (code) (rate(sluice_jobs_total[5m]))")),
    (
        "shows kind, which is not in the result",
        lambda m: rule(m, "SluiceJobsWait").update(expr="max(sluice_intake_bytes)"),
    ),
]


@pytest.mark.parametrize(("finding", "breaking"), CONTROLS)
def test_a_wrong_query_is_found(
    production_s3: Manifests, finding: str, breaking: Callable[[Manifests], object]
) -> None:
    assert any(line.endswith(finding) or finding in line for line in mistakes(production_s3.but(breaking)))


def test_a_wrong_query_of_the_dashboard_is_found(production_s3: Manifests) -> None:
    def misspell(manifests: Manifests) -> None:
        data = manifests.one("ConfigMap", "grafana-dashboard")["data"]
        dashboard = json.loads(data["dashboard.json"])
        [panel] = [panel for panel in dashboard["panels"] if panel["title"] == "Bytes in and out"]
        panel["targets"][0]["expr"] = "rate(sluice_recieved_bytes_total[5m])"
        data["dashboard.json"] = json.dumps(dashboard)

    assert list(mistakes(production_s3.but(misspell))) == ["Bytes in and out: no metric sluice_recieved_bytes_total"]


def test_an_alert_without_a_paragraph_is_found(production_s3: Manifests) -> None:
    broken = production_s3.but(lambda m: rules(m)[0]["annotations"].update(runbook="Ask somebody."))
    assert without_paragraph(broken) == [rules(production_s3)[0]["alert"]]
