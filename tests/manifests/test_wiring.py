"""How the objects of an overlay name each other, and for each check what it looks like when it fails."""

from collections.abc import Callable, Iterator

import pytest

from tests.manifests.checks import wiring
from tests.manifests.objects import COMPONENT, Manifests, Object

Check = Callable[[Manifests], Iterator[str]]

ABSENT = {"port": "absent"}
BUDGET = ("PodDisruptionBudget", "gateway")
CLAIM = ("PersistentVolumeClaim", "storage")
CHECKS: list[Check] = [
    wiring.selectors,
    wiring.ports,
    wiring.scaling,
    wiring.evictions,
    wiring.claims,
    wiring.references,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_is_named_is_there(manifests: Manifests, check: Check) -> None:
    assert list(check(manifests)) == []


def deployment(manifests: Manifests, name: str = "gateway") -> Object:
    found: Object = manifests.one("Deployment", name)["spec"]
    return found


def service(manifests: Manifests, name: str = "gateway") -> Object:
    found: Object = manifests.one("Service", name)["spec"]
    return found


def hpa(manifests: Manifests) -> Object:
    found: Object = manifests.one("HorizontalPodAutoscaler", "gateway")["spec"]
    return found


def pod_label(manifests: Manifests, name: str, value: str) -> None:
    deployment(manifests, name)["template"]["metadata"]["labels"][COMPONENT] = value


def one_node_only(manifests: Manifests) -> None:
    manifests.one("PersistentVolumeClaim", "storage")["spec"]["accessModes"] = ["ReadWriteOnce"]


CONTROLS: list[tuple[str, Check, str, Callable[[Manifests], object]]] = [
    ("dev", wiring.selectors, "Deployment/gateway: selects []", lambda m: pod_label(m, "gateway", "gatway")),
    ("dev", wiring.selectors, "Service/gateway: selects nothing", lambda m: pod_label(m, "gateway", "gatway")),
    ("dev", wiring.selectors, "selects ['worker-", lambda m: pod_label(m, "worker-metadata", "finalize")),
    ("dev", wiring.selectors, "spread with", lambda m: pod_label(m, "worker-metadata", "meta")),
    ("dev", wiring.ports, "gateway has no port web", lambda m: service(m)["ports"][0].update(targetPort="web")),
    (
        "dev",
        wiring.ports,
        "startupProbe: redis has",
        lambda m: m.pod("redis").main["startupProbe"].update(tcpSocket=ABSENT),
    ),
    ("production-s3", wiring.ports, "HTTPRoute/sluice", lambda m: service(m)["ports"][0].update(port=8080)),
    ("production-rwx", wiring.ports, "Ingress/sluice", lambda m: service(m)["ports"][0].update(name="web")),
    (
        "production-s3",
        wiring.ports,
        "ServiceMonitor/workers",
        lambda m: service(m, "workers")["ports"][0].update(name="web"),
    ),
    (
        "production-s3",
        wiring.ports,
        "(selected by nothing)",
        lambda m: m.one("Service", "workers")["metadata"].pop("labels"),
    ),
    ("production-s3", wiring.scaling, "how many replicas", lambda m: deployment(m).update(replicas=2)),
    ("production-s3", wiring.scaling, "how many", lambda m: deployment(m, "worker-finalize").update(replicas=2)),
    ("production-s3", wiring.scaling, "no Deployment x", lambda m: hpa(m)["scaleTargetRef"].update(name="x")),
    (
        "production-s3",
        wiring.scaling,
        "no request of CPU",
        lambda m: m.pod("gateway").main["resources"]["requests"].pop("cpu"),
    ),
    (
        "dev",
        wiring.evictions,
        "may forbid every eviction",
        lambda m: m.one("PodDisruptionBudget", "gateway")["spec"].update(maxUnavailable=0),
    ),
    ("dev", wiring.evictions, "no PodDisruptionBudget", lambda m: m.objects.remove(m.one(*BUDGET))),
    ("production-rwx", wiring.claims, "several pods on storage", one_node_only),
    ("production-rwx", wiring.claims, "no claim storage", lambda m: m.objects.remove(m.one(*CLAIM))),
    ("dev", wiring.claims, "nothing of each other", lambda m: m.one("StatefulSet", "redis")["spec"].update(replicas=2)),
    ("dev", wiring.references, "no Secret sluice", lambda m: m.objects.remove(m.one("Secret", "sluice"))),
    ("dev", wiring.references, "no ConfigMap redis", lambda m: m.objects.remove(_config_map(m, "redis"))),
    (
        "production-s3",
        wiring.references,
        "no TriggerAuthentication redis",
        lambda m: m.objects.remove(m.one("TriggerAuthentication", "redis")),
    ),
]


@pytest.mark.parametrize(("overlay", "check", "finding", "breaking"), CONTROLS)
def test_a_broken_wire_is_found(
    request: pytest.FixtureRequest, overlay: str, check: Check, finding: str, breaking: Callable[[Manifests], object]
) -> None:
    manifests: Manifests = request.getfixturevalue(overlay.replace("-", "_"))
    assert any(finding in line for line in check(manifests.but(breaking)))


def _config_map(manifests: Manifests, name: str) -> Object:
    (found,) = [thing for thing in manifests.of("ConfigMap") if thing["metadata"]["name"].startswith(f"{name}-")]
    return found
