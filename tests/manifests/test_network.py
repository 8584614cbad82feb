"""The policies allow what is needed and nothing else."""

from collections.abc import Callable

import pytest

from tests.manifests.checks.network import Flow, from_outside, inside, isolated, needed_inside, to_outside
from tests.manifests.objects import Manifests, Object

OURS = ("gateway", "finalize", "metadata", "doctor")  # the migration needs the database only
NAMES = ("kubernetes.io/metadata.name=kube-system", "169.254.20.10/32")  # the second: a cache on each node
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")

CLIENTS: set[Flow] = {("sluice-clients=allowed", "gateway", "8000/TCP")}
DNS: set[Flow] = {(pod, names, port) for pod in (*OURS, "migrate") for names in NAMES for port in ("53/UDP", "53/TCP")}
DATABASE: set[Flow] = {(pod, block, "5432/TCP") for pod in (*OURS, "migrate") for block in PRIVATE}
REDIS: set[Flow] = {(pod, block, "6379/TCP") for pod in OURS for block in PRIVATE}
S3: set[Flow] = {(pod, "0.0.0.0/0 but 169.254.169.254/32", "443/TCP") for pod in OURS}
MONITORING: set[Flow] = {
    ("kubernetes.io/metadata.name=monitoring", pod, port)
    for pod, port in (("gateway", "8000/TCP"), ("finalize", "8001/TCP"), ("metadata", "8001/TCP"))
}


def proxy(namespace: str) -> set[Flow]:
    return {(f"kubernetes.io/metadata.name={namespace}", "gateway", "8000/TCP")}


def test_pods_reach_the_services_that_their_settings_name_and_no_others(manifests: Manifests) -> None:
    assert inside(manifests) == needed_inside(manifests)


def test_the_self_contained_overlay_needs_flows_inside(dev: Manifests) -> None:
    assert {target for _, target, _ in needed_inside(dev)} == {"redis", "postgres", "s3"}
    assert {target for source, target, _ in inside(dev) if source == "migrate"} == {"postgres"}


def test_every_pod_is_isolated_in_both_directions(manifests: Manifests) -> None:
    assert isolated(manifests) == {pod.component for pod in manifests.pods()}


def test_trying_out_opens_nothing_but_names_and_clients(dev: Manifests) -> None:
    assert from_outside(dev) == CLIENTS
    assert to_outside(dev) == DNS


def test_production_on_s3_opens_what_it_uses(production_s3: Manifests) -> None:
    assert from_outside(production_s3) == CLIENTS | proxy("gateway-system") | MONITORING
    assert to_outside(production_s3) == DNS | DATABASE | REDIS | S3


def test_production_on_a_shared_volume_opens_what_it_uses(production_rwx: Manifests) -> None:
    assert from_outside(production_rwx) == CLIENTS | proxy("traefik")
    assert to_outside(production_rwx) == DNS | DATABASE | REDIS


def policy(manifests: Manifests, name: str) -> Object:
    found: Object = manifests.one("NetworkPolicy", name)["spec"]
    return found


def without(name: str) -> Callable[[Manifests], object]:
    return lambda manifests: manifests.objects.remove(manifests.one("NetworkPolicy", name))


def open_both_sides(manifests: Manifests) -> None:
    policy(manifests, "postgres")["ingress"][0]["from"][0].update(podSelector={})
    policy(manifests, "to-postgres").update(podSelector={})


TOO_NARROW: list[Callable[[Manifests], object]] = [
    without("to-redis"),
    without("redis"),
    lambda m: policy(m, "redis")["ingress"][0].update(ports=[{"port": 6380, "protocol": "TCP"}]),
    lambda m: policy(m, "to-postgres").update(podSelector={"matchLabels": {"no": "pod"}}),
    lambda m: policy(m, "s3")["ingress"][0]["from"][0].update(namespaceSelector={}),
]


@pytest.mark.parametrize("breaking", TOO_NARROW)
def test_a_needed_flow_that_is_cut_off_is_found(dev: Manifests, breaking: Callable[[Manifests], object]) -> None:
    broken = dev.but(breaking)
    assert needed_inside(broken) > inside(broken)


def test_a_flow_that_nobody_needs_is_found(dev: Manifests) -> None:
    broken = dev.but(open_both_sides)
    assert ("redis", "postgres", "5432/TCP") in inside(broken) - needed_inside(broken)


def test_a_missing_default_is_found(dev: Manifests) -> None:
    assert "redis" not in isolated(dev.but(without("default-deny")))


def test_an_opened_gateway_is_found(dev: Manifests) -> None:
    everybody = dev.but(lambda m: policy(m, "clients")["ingress"][0].pop("from"))
    assert from_outside(everybody) == {("everybody", "gateway", "8000/TCP")}


def test_an_egress_without_ports_is_found(dev: Manifests) -> None:
    anything = dev.but(lambda m: policy(m, "names")["egress"][0].pop("ports"))
    assert ("gateway", NAMES[0], "any") in to_outside(anything)
