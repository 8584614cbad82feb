"""Each alert fires when it should and is quiet when it should, judged by Prometheus' own tool."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.settings import load_settings
from tests.manifests.checks.metrics import promql, queries
from tests.manifests.objects import Manifests, Object

CASES = yaml.safe_load((Path(__file__).parent / "alert_cases.yaml").read_text())
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool on PATH (Debian: apt-get install prometheus)")


def groups(manifests: Manifests) -> list[Object]:
    found: list[Object] = manifests.one("PrometheusRule", "sluice")["spec"]["groups"]
    return found


def promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    ended = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet(production_s3: Manifests) -> None:
    alerts = {rule["alert"] for group in groups(production_s3) for rule in group["rules"]}
    assert set(CASES) == alerts
    assert {name for name, case in CASES.items() if set(case) != {"fires", "quiet"}} == set()


@needs_promtool
def test_the_rules_are_valid(production_s3: Manifests, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups(production_s3)}))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yaml"))


@needs_promtool
def test_every_query_of_the_dashboard_is_promql(production_s3: Manifests, tmp_path: Path) -> None:
    texts = [promql(query.text) for query in queries(production_s3)]
    rules = [{"record": f"query:{number}", "expr": text} for number, text in enumerate(texts)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yaml"))


@needs_promtool
def test_a_query_that_is_no_promql_is_found(tmp_path: Path) -> None:
    rules = [{"record": "query:0", "expr": promql("sum by (kind (rate(sluice_jobs_total[$__rate_interval])))")}]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    with pytest.raises(AssertionError, match="parse error"):
        promtool("check", "rules", str(tmp_path / "rules.yaml"))


@needs_promtool
@pytest.mark.parametrize("kind", ["fires", "quiet"])
@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_when_it_should(alert: str, kind: str, production_s3: Manifests, tmp_path: Path) -> None:
    case = CASES[alert][kind]
    expected = [_expected(production_s3, alert, case)] if kind == "fires" else []
    _judge(production_s3, tmp_path, alert, case, expected)


@needs_promtool
def test_a_full_volume_is_told_also_when_nobody_sends_anything(production_s3: Manifests, tmp_path: Path) -> None:
    below = load_settings(environ={}).storage.min_free_bytes - 1
    free = 'sluice_storage_free_bytes{namespace="sluice",backend="local",pod="worker-1"}'
    case = {**CASES["SluiceStorageFull"]["fires"], "at": "30m", "series": {free: f"{below}x200"}}
    expected = [_expected(production_s3, "SluiceStorageFull", case)]
    _judge(production_s3, tmp_path, "SluiceStorageFull", case, expected)


def _judge(
    manifests: Manifests, folder: Path, alert: str, case: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups(manifests)}))
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in case["series"].items()],
        "alert_rule_test": [{"eval_time": case["at"], "alertname": alert, "exp_alerts": expected}],
    }
    whole = {"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": [test]}
    (folder / "test.yaml").write_text(yaml.safe_dump(whole))
    promtool("test", "rules", str(folder / "test.yaml"))


def _expected(manifests: Manifests, alert: str, case: dict[str, Any]) -> dict[str, Any]:
    [rule] = [rule for group in groups(manifests) for rule in group["rules"] if rule["alert"] == alert]
    labels = {**rule["labels"], **case.get("labels", {})}
    return {"exp_labels": labels, "exp_annotations": {**rule["annotations"], "summary": case["summary"]}}
