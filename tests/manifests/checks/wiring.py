"""How the objects name each other: selectors, ports, targets, claims. Each check yields its findings."""

from __future__ import annotations

from collections.abc import Iterator

from tests.manifests.objects import Manifests, Object, Pod

# Not in any overlay of production: the README says how to make them.
OUTSIDE = frozenset({"sluice", "sluice-s3", "keda-redis", "sluice-tls"})
OPTIONAL = frozenset({"database-ca"})  # a ConfigMap that people bring where they need it
RECREATE = {"type": "Recreate"}

Named = tuple[str, str, str | int]
"""Who names it, and two words for what is named."""


def selectors(manifests: Manifests) -> Iterator[str]:
    """What selects pods selects those it is for, and no others."""
    for thing in manifests.of("Deployment", "StatefulSet"):
        chosen = manifests.selected(thing["spec"]["selector"]["matchLabels"])
        if [(pod.kind, pod.name) for pod in chosen] != [(thing["kind"], thing["metadata"]["name"])]:
            yield f"{thing['kind']}/{thing['metadata']['name']}: selects {[pod.name for pod in chosen]}"
    for thing in manifests.of("PodDisruptionBudget"):
        chosen = manifests.selected(thing["spec"]["selector"]["matchLabels"])
        if [pod.name for pod in chosen] != [thing["metadata"]["name"]]:
            yield f"PodDisruptionBudget/{thing['metadata']['name']}: selects {[pod.name for pod in chosen]}"
    for thing in manifests.of("Service"):
        if not manifests.selected(thing["spec"]["selector"]):
            yield f"Service/{thing['metadata']['name']}: selects nothing"
    for pod in manifests.pods():
        for constraint in pod.spec.get("topologySpreadConstraints", []):
            if pod not in manifests.selected(constraint["labelSelector"]["matchLabels"]):
                yield f"{pod.kind}/{pod.name}: is not among those it is spread with"


def ports(manifests: Manifests) -> Iterator[str]:
    """Every port that somebody names is there under that name or number."""
    for who, name, port in [*_backends(manifests), *_scraped(manifests)]:
        services = [service for service in manifests.of("Service") if service["metadata"]["name"] == name]
        offered = [each for service in services for each in service["spec"]["ports"]]
        if port not in {key for each in offered for key in (each["name"], each["port"])}:
            yield f"{who}: no Service {name} with port {port}"
    for who, pod, port in [*_targets(manifests), *_probed(manifests)]:
        if port not in {key for each in pod.main.get("ports", []) for key in (each["name"], each["containerPort"])}:
            yield f"{who}: {pod.name} has no port {port}"


def _targets(manifests: Manifests) -> Iterator[tuple[str, Pod, str | int]]:
    for service in manifests.of("Service"):
        for port in service["spec"]["ports"]:
            for pod in manifests.selected(service["spec"]["selector"]):
                yield f"Service/{service['metadata']['name']}", pod, port["targetPort"]


def _probed(manifests: Manifests) -> Iterator[tuple[str, Pod, str | int]]:
    for pod in manifests.pods():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for way in {"httpGet", "tcpSocket"} & pod.main.get(probe, {}).keys():
                yield probe, pod, pod.main[probe][way]["port"]


def _backends(manifests: Manifests) -> Iterator[Named]:
    for route in manifests.of("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield f"HTTPRoute/{route['metadata']['name']}", backend["name"], backend["port"]
    for ingress in manifests.of("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                port = service["port"].get("name") or service["port"]["number"]
                yield f"Ingress/{ingress['metadata']['name']}", service["name"], port


def _scraped(manifests: Manifests) -> Iterator[Named]:
    for monitor in manifests.of("ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        chosen = [
            service["metadata"]["name"]
            for service in manifests.of("Service")
            if labels <= service["metadata"].get("labels", {}).items()
        ]
        for endpoint in monitor["spec"]["endpoints"]:
            for name in chosen or ["(selected by nothing)"]:
                yield f"ServiceMonitor/{monitor['metadata']['name']}", name, endpoint["port"]


def scaling(manifests: Manifests) -> Iterator[str]:
    """An autoscaler has its target for itself and can measure it."""
    for scaler in manifests.of("HorizontalPodAutoscaler", "ScaledObject"):
        name, target = f"{scaler['kind']}/{scaler['metadata']['name']}", scaler["spec"]["scaleTargetRef"]
        pods = [pod for pod in manifests.pods() if (pod.kind, pod.name) == (target["kind"], target["name"])]
        if not pods:
            yield f"{name}: no {target['kind']} {target['name']}"
        for pod in pods:
            if pod.replicas is not None:
                yield f"{name}: {pod.name} says how many replicas"
            if any("cpu" not in container["resources"].get("requests", {}) for container in pod.spec["containers"]):
                yield f"{name}: no request of CPU to measure against"


def evictions(manifests: Manifests) -> Iterator[str]:
    """Some pod may always be evicted, and never all of them at once."""
    for budget in manifests.of("PodDisruptionBudget"):
        if not budget["spec"].get("maxUnavailable"):
            yield f"PodDisruptionBudget/{budget['metadata']['name']}: may forbid every eviction"
    budgets = {budget["metadata"]["name"] for budget in manifests.of("PodDisruptionBudget")}
    for pod in manifests.pods():
        if manifests.most_pods(pod) > 1 and pod.name not in budgets:
            yield f"{pod.kind}/{pod.name}: several pods and no PodDisruptionBudget"


def claims(manifests: Manifests) -> Iterator[str]:
    """A volume that one node may mount has one pod; what is claimed is there."""
    for pod in manifests.pods():
        where = f"{pod.kind}/{pod.name}"
        for claim in _claims(pod):
            if not manifests.has("PersistentVolumeClaim", claim):
                yield f"{where}: no claim {claim}"
            elif "ReadWriteMany" not in manifests.one("PersistentVolumeClaim", claim)["spec"]["accessModes"]:
                users = sum(manifests.most_pods(each) for each in manifests.pods() if claim in _claims(each))
                if users > 1 or manifests.one(pod.kind, pod.name)["spec"].get("strategy") != RECREATE:
                    yield f"{where}: several pods on {claim}, which one node may mount"
    for owner in manifests.of("StatefulSet"):
        if owner["spec"].get("replicas", 1) > 1:  # each would have data of its own
            yield f"StatefulSet/{owner['metadata']['name']}: several pods that know nothing of each other"


def _claims(pod: Pod) -> list[str]:
    volumes = pod.spec.get("volumes", [])
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]


def references(manifests: Manifests) -> Iterator[str]:
    """Every ConfigMap and Secret that somebody names is in the overlay, or one that people bring."""
    brought = frozenset() if manifests.of("Secret") else OUTSIDE
    for who, kind, name in [*_used_by_pods(manifests), *_used_by_scalers(manifests)]:
        if not manifests.has(kind, str(name)) and not (kind == "Secret" and name in brought):
            yield f"{who}: no {kind} {name}"


def _used_by_pods(manifests: Manifests) -> Iterator[Named]:
    for pod in manifests.pods():
        for who, container in pod.containers():
            for source in container.get("envFrom", []):
                yield who, "ConfigMap", source["configMapRef"]["name"]
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    yield who, "Secret", variable["valueFrom"]["secretKeyRef"]["name"]
        for volume in pod.spec.get("volumes", []):
            if "configMap" in volume and not (volume["configMap"].get("optional") and _name(volume) in OPTIONAL):
                yield f"{pod.kind}/{pod.name}", "ConfigMap", volume["configMap"]["name"]


def _name(volume: Object) -> str:
    name: str = volume["configMap"]["name"]
    return name


def _used_by_scalers(manifests: Manifests) -> Iterator[Named]:
    for thing in manifests.of("TriggerAuthentication"):
        for reference in thing["spec"]["secretTargetRef"]:
            yield f"TriggerAuthentication/{thing['metadata']['name']}", "Secret", reference["name"]
    for trigger in triggers(manifests):
        yield "ScaledObject", "TriggerAuthentication", trigger["authenticationRef"]["name"]


def triggers(manifests: Manifests) -> list[Object]:
    """What the ScaledObjects look at."""
    return [trigger for thing in manifests.of("ScaledObject") for trigger in thing["spec"]["triggers"]]
