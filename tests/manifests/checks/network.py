"""Who may talk to whom, by the rules of NetworkPolicy: a small evaluator over the rendered policies.

Between two pods both sides have to agree. A flow is (source, target, port); a port is a number with its protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.manifests.objects import Manifests, Object, Pod

Flow = tuple[str, str, str]
ADDRESSES = ("SLUICE_DATABASE_URL", "SLUICE_REDIS_URL", "SLUICE_S3_ENDPOINT_URL")


def inside(manifests: Manifests) -> set[Flow]:
    """Flows between pods of the overlay."""
    return {
        (source.component, target.component, port)
        for source in manifests.pods()
        for target in manifests.pods()
        for port in _ports(target)
        if _egress(manifests, source, target, port) and _ingress(manifests, source, target, port)
    }


def from_outside(manifests: Manifests) -> set[Flow]:
    """Flows from other namespaces, which are named by their labels."""
    return {
        (_words(peer), pod.component, port)
        for pod in manifests.pods()
        for rule in _rules(manifests, pod, "ingress")
        for peer in rule.get("from", [{}])
        if "namespaceSelector" in peer or "ipBlock" in peer or not peer
        for port in _allowed(rule, pod) or ["any"]
    }


def to_outside(manifests: Manifests) -> set[Flow]:
    """Flows to other namespaces and to addresses."""
    return {
        (pod.component, _words(peer), port)
        for pod in manifests.pods()
        for rule in _rules(manifests, pod, "egress")
        for peer in rule.get("to", [{}])
        if "namespaceSelector" in peer or "ipBlock" in peer or not peer
        for port in _allowed(rule, None) or ["any"]
    }


def needed_inside(manifests: Manifests) -> set[Flow]:
    """Flows to the Services of the overlay that the variables of our pods name."""
    return {flow for pod in manifests.ours() for flow in _needed(manifests, pod)}


def _needed(manifests: Manifests, pod: Pod) -> Iterator[Flow]:
    for _, container in pod.containers():
        environment = manifests.environment(container)
        for name in ADDRESSES:
            address = urlsplit(environment.get(name) or "")
            if address.hostname and manifests.has("Service", address.hostname):
                service = manifests.one("Service", address.hostname)["spec"]
                for target in manifests.selected(service["selector"]):
                    yield pod.component, target.component, f"{address.port}/TCP"


def isolated(manifests: Manifests) -> set[str]:
    """Components that some policy holds in both directions; the others may talk to everybody."""
    return {
        pod.component
        for pod in manifests.pods()
        if _policies(manifests, pod, "Ingress") and _policies(manifests, pod, "Egress")
    }


def _egress(manifests: Manifests, source: Pod, target: Pod, port: str) -> bool:
    if not _policies(manifests, source, "Egress"):
        return True
    rules = _rules(manifests, source, "egress")
    return any(_matches(rule, "to", target) and port in (_allowed(rule, target) or [port]) for rule in rules)


def _ingress(manifests: Manifests, source: Pod, target: Pod, port: str) -> bool:
    if not _policies(manifests, target, "Ingress"):
        return True
    rules = _rules(manifests, target, "ingress")
    return any(_matches(rule, "from", source) and port in (_allowed(rule, target) or [port]) for rule in rules)


def _policies(manifests: Manifests, pod: Pod, direction: str) -> list[Object]:
    return [
        policy["spec"]
        for policy in manifests.of("NetworkPolicy")
        if direction in policy["spec"]["policyTypes"] and _selects(policy["spec"]["podSelector"], pod.labels)
    ]


def _rules(manifests: Manifests, pod: Pod, key: str) -> list[Object]:
    return [rule for policy in _policies(manifests, pod, key.capitalize()) for rule in policy.get(key, [])]


def _matches(rule: Object, key: str, pod: Pod) -> bool:
    peers = rule.get(key)
    if peers is None:
        return True
    return any(
        "namespaceSelector" not in peer and "podSelector" in peer and _selects(peer["podSelector"], pod.labels)
        for peer in peers
    )


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", "the evaluator knows no other"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def _allowed(rule: Object, target: Pod | None) -> list[str]:
    """Ports of a rule, names looked up in the target; empty for a rule without ports, which allows all."""
    numbers = {port["name"]: port["containerPort"] for port in (target.main.get("ports", []) if target else [])}
    return [
        f"{numbers.get(port['port'], port['port'])}/{port.get('protocol', 'TCP')}" for port in rule.get("ports", [])
    ]


def _ports(pod: Pod) -> list[str]:
    return [f"{port['containerPort']}/{port.get('protocol', 'TCP')}" for port in pod.main.get("ports", [])]


def _words(peer: dict[str, Any]) -> str:
    if not peer:
        return "everybody"
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return " but ".join([block["cidr"], *block.get("except", [])])
    selectors = [peer["namespaceSelector"], peer.get("podSelector", {})]
    return " ".join(f"{key}={value}" for each in selectors for key, value in each.get("matchLabels", {}).items())
