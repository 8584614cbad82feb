"""Queries of alerts and dashboards against the catalogue of metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass

from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from common import errors
from common.errors import SluiceError
from common.states import JobKind
from docs.generate import catalogue
from tests.manifests.objects import Manifests, Object

NAME = re.compile(r"(?:(\w+)\()?\s*\b(sluice_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*(=~|=|!=|!~)\s*"([^"]*)"')
TARGET_LABELS = frozenset({"namespace", "pod", "job", "instance"})  # Prometheus adds them
RATES = frozenset({"rate", "increase", "irate"})


@dataclass(frozen=True)
class Query:
    where: str
    text: str
    shown: Set[str] = frozenset()
    """Labels of the result that a person is shown."""


def queries(manifests: Manifests) -> Iterator[Query]:
    """Every PromQL expression of the overlay."""
    for rules in manifests.of("PrometheusRule"):
        for group in rules["spec"]["groups"]:
            for rule in group["rules"]:
                yield Query(rule["alert"], rule["expr"], _shown_by_alert(rule))
    for dashboard in dashboards(manifests):
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield Query(panel["title"], target["expr"], set(re.findall(r"{{(\w+)}}", target["legendFormat"])))


def promql(expression: str) -> str:
    """A query of a dashboard as Prometheus takes it, with values for what Grafana fills in."""
    return expression.replace("$__rate_interval", "5m").replace("$namespace", ".*")


def dashboards(manifests: Manifests) -> list[Object]:
    return [
        json.loads(text)
        for thing in manifests.of("ConfigMap")
        if "grafana_dashboard" in thing["metadata"].get("labels", {})
        for text in thing["data"].values()
    ]


def mistakes(manifests: Manifests) -> Iterator[str]:
    """Names and labels that no metric has, and functions that do not fit the kind of metric."""
    metrics = _exported()
    for query in queries(manifests):
        found = NAME.findall(query.text)
        if not found:
            yield f"{query.where}: asks for no metric of ours"
        for function, name, matchers in found:
            metric = metrics.get(name)
            if metric is None:
                yield f"{query.where}: no metric {name}"
                continue
            counts = isinstance(metric, Counter | Histogram)
            if counts != (function in RATES):
                yield f"{query.where}: {function or 'nothing'} of {name}"
            for label, _, value in LABEL.findall(matchers):
                yield from (f"{query.where}: {wrong}" for wrong in _label(metric, label, value))
        yield from _groups(query, [metrics[name] for _, name, _ in found if name in metrics])


def _groups(query: Query, asked: list[MetricWrapperBase]) -> Iterator[str]:
    """Groupings by labels that no metric of the query has, and shown labels by which nothing is grouped."""
    groups = {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", query.text) for label in labels.split(",")}
    known = {"le", *TARGET_LABELS, *(label for metric in asked for label in metric._labelnames)}
    yield from (f"{query.where}: grouped by {label}, which nothing has" for label in sorted(groups - known))
    yield from (f"{query.where}: shows {label}, which is not in the result" for label in sorted(query.shown - groups))


def _shown_by_alert(rule: Object) -> set[str]:
    return {label for text in rule["annotations"].values() for label in re.findall(r"\$labels\.(\w+)", text)}


def _label(metric: MetricWrapperBase, label: str, value: str) -> Iterator[str]:
    if label not in {*metric._labelnames, *TARGET_LABELS}:
        yield f"{metric._name} has no label {label}"
    known = {"code": _codes(), "kind": {str(kind) for kind in JobKind}}.get(label)
    if known is not None and not set(value.split("|")) <= known:
        yield f"no {label} {value}"


def _exported() -> dict[str, MetricWrapperBase]:
    """Names as they are exported -> metric; histograms by their three series."""
    found: dict[str, MetricWrapperBase] = {}
    for _, metric in catalogue():
        if isinstance(metric, Histogram):
            found |= {f"{metric._name}{series}": metric for series in ("_bucket", "_sum", "_count")}
        else:
            found[f"{metric._name}_total" if isinstance(metric, Counter) else metric._name] = metric
    return found


def _codes() -> set[str]:
    return {each.code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, SluiceError)}
