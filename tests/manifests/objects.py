"""The rendered objects of an overlay, and the questions that the checks ask about them."""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RENDERED = Path(__file__).parents[2] / "deploy" / "k8s" / "rendered"
COMPONENT = "app.kubernetes.io/component"
OURS = frozenset({"gateway", "finalize", "metadata", "migrate", "doctor"})  # components that run our image

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """What a Deployment, StatefulSet, Job or CronJob makes; `replicas` is None where it does not say how many."""

    kind: str
    name: str
    labels: Mapping[str, str]
    spec: Object
    replicas: int | None

    @property
    def component(self) -> str:
        return self.labels.get(COMPONENT, "")

    @property
    def main(self) -> Object:
        """The container that the pod is for."""
        container: Object = self.spec["containers"][0]
        return container

    def containers(self) -> Iterator[tuple[str, Object]]:
        """Where it stands, for messages, and each container, init containers first."""
        for container in [*self.spec.get("initContainers", []), *self.spec["containers"]]:
            yield f"{self.kind}/{self.name}/{container['name']}", container


@dataclass(frozen=True)
class Manifests:
    """All objects of one overlay."""

    overlay: str
    objects: list[Object] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Object]:
        return [thing for thing in self.objects if thing["kind"] in kinds]

    def one(self, kind: str, name: str) -> Object:
        """Raises LookupError when there is not exactly one."""
        found = [thing for thing in self.of(kind) if thing["metadata"]["name"] == name]
        if len(found) != 1:
            raise LookupError(f"{len(found)} times {kind} {name} in {self.overlay}")
        return found[0]

    def has(self, kind: str, name: str) -> bool:
        return any(thing["metadata"]["name"] == name for thing in self.of(kind))

    def pods(self) -> list[Pod]:
        return [
            Pod(
                thing["kind"],
                thing["metadata"]["name"],
                template["metadata"].get("labels", {}),
                template["spec"],
                thing["spec"].get("replicas"),
            )
            for thing in self.of("Deployment", "StatefulSet", "Job", "CronJob")
            for template in [thing["spec"].get("jobTemplate", thing)["spec"]["template"]]
        ]

    def ours(self) -> list[Pod]:
        """Pods of our image."""
        return [pod for pod in self.pods() if pod.component in OURS]

    def pod(self, component: str) -> Pod:
        (found,) = [pod for pod in self.pods() if pod.component == component]
        return found

    def selected(self, labels: Mapping[str, str]) -> list[Pod]:
        """Pods that have all of these labels."""
        return [pod for pod in self.pods() if labels.items() <= pod.labels.items()]

    def most_pods(self, pod: Pod) -> int:
        """How many of these an autoscaler or the object itself allows; 1 where nobody says."""
        for scaler in self.of("HorizontalPodAutoscaler", "ScaledObject"):
            target = scaler["spec"]["scaleTargetRef"]
            if (target["kind"], target["name"]) == (pod.kind, pod.name):
                most: int = scaler["spec"].get("maxReplicas") or scaler["spec"]["maxReplicaCount"]
                return most
        return pod.replicas or 1

    def environment(self, container: Object) -> dict[str, str | None]:
        """Variables of a container; None for a value that a Secret outside of the overlay has."""
        found: dict[str, str | None] = {}
        for source in container.get("envFrom", []):
            found |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in container.get("env", []):
            found[variable["name"]] = variable["value"] if "value" in variable else self._secret(variable)
        return {name: value and _expanded(value, found) for name, value in found.items()}

    def command(self, container: Object) -> list[str]:
        """The words of `command` and `args` with their `$(NAME)` filled in."""
        environment = self.environment(container)
        return [_expanded(word, environment) for word in [*container.get("command", []), *container.get("args", [])]]

    def _secret(self, variable: Object) -> str | None:
        reference = variable["valueFrom"]["secretKeyRef"]
        if not self.has("Secret", reference["name"]):
            return None
        return _decoded(self.one("Secret", reference["name"])["data"][reference["key"]])

    def but(self, change: Callable[[Manifests], object]) -> Manifests:
        """A copy that `change` has broken in one place: the control of a check."""
        altered = Manifests(self.overlay, copy.deepcopy(self.objects))
        change(altered)
        return altered


def rendered(overlay: str) -> Manifests:
    """What is committed under deploy/k8s/rendered."""
    return parsed(overlay, (RENDERED / f"{overlay}.yaml").read_text(encoding="utf-8"))


def parsed(overlay: str, text: str) -> Manifests:
    return Manifests(overlay, [thing for thing in yaml.load_all(text, Loader=yaml.CSafeLoader) if thing])


def _expanded(word: str, environment: Mapping[str, str | None]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda found: environment.get(found[1]) or found[0], word)


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode()
