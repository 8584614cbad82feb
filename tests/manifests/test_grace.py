"""Times: grace periods from the drain bounds, probes from the bounds of the routes, waits inside of deadlines."""

from collections.abc import Callable, Iterator

import pytest

from cli.stack import STOP_MARGIN_SECONDS, WORKER_STOP_MARGIN_SECONDS
from common.probes import PROBE_SECONDS
from tests.manifests.checks.environment import settings
from tests.manifests.objects import Manifests, Pod

ENDPOINT_SECONDS = 5  # what proxies may take to hear that a pod is going
FAR_AWAY = 300  # scale-in waits this long: a pause in the load is no reason


def needed_grace(manifests: Manifests, pod: Pod) -> float:
    """Seconds from the moment a pod is told to go until the process must have ended by itself."""
    those = settings(manifests, pod.main)
    if pod.component == "gateway":
        return float(before_stop(pod) + those.http.drain_seconds + STOP_MARGIN_SECONDS)
    return float(before_stop(pod) + those.worker.worker_drain_seconds + WORKER_STOP_MARGIN_SECONDS)


def before_stop(pod: Pod) -> int:
    """Seconds of preStop; the clock of the grace period runs already."""
    seconds: int = pod.main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    return seconds


def short_times(manifests: Manifests) -> Iterator[str]:
    for component in ("gateway", "finalize", "metadata"):
        pod = manifests.pod(component)
        if pod.spec["terminationGracePeriodSeconds"] < needed_grace(manifests, pod):
            yield f"{component}: killed before it has drained"
        if pod.main["readinessProbe"]["timeoutSeconds"] <= PROBE_SECONDS:
            yield f"{component}: readiness is given up before it answers"
        waiting = float(pod.spec["initContainers"][0]["args"][-1])
        if manifests.one("Deployment", pod.name)["spec"]["progressDeadlineSeconds"] <= waiting:
            yield f"{component}: the rollout is given up while it waits for the schema"
    if before_stop(manifests.pod("gateway")) < ENDPOINT_SECONDS:
        yield "gateway: stops to listen while proxies still send"
    for name, seconds in scale_in(manifests):
        if seconds < FAR_AWAY:
            yield f"{name}: scales in after {seconds} s"


def scale_in(manifests: Manifests) -> Iterator[tuple[str, int]]:
    """Each autoscaler and the seconds that it waits before it takes a pod away."""
    for hpa in manifests.of("HorizontalPodAutoscaler"):
        yield hpa["metadata"]["name"], hpa["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"]
    for scaled in manifests.of("ScaledObject"):
        behavior = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        yield scaled["metadata"]["name"], behavior["scaleDown"]["stabilizationWindowSeconds"]


def test_every_time_is_long_enough(manifests: Manifests) -> None:
    assert list(short_times(manifests)) == []


def test_a_held_poll_and_a_download_outlive_the_route(production_s3: Manifests) -> None:
    (rule,) = production_s3.one("HTTPRoute", "sluice")["spec"]["rules"]
    assert set(rule["timeouts"].values()) == {"0s"}


def variable(manifests: Manifests, component: str, name: str, value: str) -> None:
    manifests.pod(component).main["env"].append({"name": name, "value": value})


CONTROLS: list[tuple[str, Callable[[Manifests], object]]] = [
    ("gateway: killed", lambda m: variable(m, "gateway", "SLUICE_DRAIN_SECONDS", "31")),
    ("finalize: killed", lambda m: variable(m, "finalize", "SLUICE_WORKER_DRAIN_SECONDS", "36")),
    ("metadata: killed", lambda m: m.pod("metadata").spec.update(terminationGracePeriodSeconds=30)),
    ("gateway: stops to listen", lambda m: m.pod("gateway").main.pop("lifecycle")),
    ("metadata: readiness", lambda m: m.pod("metadata").main["readinessProbe"].update(timeoutSeconds=2)),
    ("gateway: readiness", lambda m: m.pod("gateway").main["readinessProbe"].update(timeoutSeconds=1)),
    ("gateway: the rollout", lambda m: m.pod("gateway").spec["initContainers"][0].update(args=["migrate", "900"])),
    (
        "gateway: scales in",
        lambda m: m.one("HorizontalPodAutoscaler", "gateway")["spec"]["behavior"]["scaleDown"].update(
            stabilizationWindowSeconds=0
        ),
    ),
]


@pytest.mark.parametrize(("finding", "breaking"), CONTROLS)
def test_a_time_that_is_too_short_is_found(
    production_s3: Manifests, finding: str, breaking: Callable[[Manifests], object]
) -> None:
    assert any(line.startswith(finding) for line in short_times(production_s3.but(breaking)))
