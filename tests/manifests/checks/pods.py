"""What holds for every pod by itself: rights, bounds, probes, mounts. Each check returns its findings."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from tests.manifests.objects import Manifests, Object, Pod

UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
BOUNDED = ("cpu", "memory", "ephemeral-storage")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
USER = 10001


def quantity(text: str) -> float:
    """`250m`, `64Mi`, `2` as a number (cores or bytes)."""
    found = re.fullmatch(r"([\d.]+)([a-zA-Z]*)", str(text))
    assert found is not None, text
    return float(found[1]) * UNITS[found[2]]


def rights(manifests: Manifests) -> list[str]:
    """Pod Security `restricted`, and a root file system that nobody writes to."""
    found = []
    for pod in manifests.pods():
        where = f"{pod.kind}/{pod.name}"
        found += [f"{where}: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(key)]
        found += [f"{where}: hostPath" for volume in pod.spec.get("volumes", []) if "hostPath" in volume]
        context = pod.spec.get("securityContext", {})
        if not context.get("runAsNonRoot") or not context.get("runAsUser"):
            found.append(f"{where}: may run as root")
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            found.append(f"{where}: no seccomp profile")
        if pod in manifests.ours() and {context.get("runAsUser"), context.get("runAsGroup")} != {USER}:
            found.append(f"{where}: not the user of the image")
        for name, container in pod.containers():
            found += [f"{name}: {problem}" for problem in _rights(container.get("securityContext", {}))]
    return found


def _rights(context: Object) -> list[str]:
    wanted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    wrong = [key for key, value in wanted.items() if context.get(key) != value]
    return wrong + [key for key in context if key not in wanted]  # none of them may loosen what the pod says


def tokens(manifests: Manifests) -> list[str]:
    """An account of its own that is there, no token of it, no Services as variables."""
    found = []
    for pod in manifests.pods():
        where = f"{pod.kind}/{pod.name}"
        account = pod.spec.get("serviceAccountName", "default")
        if not manifests.has("ServiceAccount", account):
            found.append(f"{where}: no service account {account}")
        elif manifests.one("ServiceAccount", account).get("automountServiceAccountToken") is not False:
            found.append(f"{where}: its account hands out tokens")
        if pod.spec.get("automountServiceAccountToken") is not False:
            found.append(f"{where}: gets a token")
        if pod.spec.get("enableServiceLinks") is not False:
            found.append(f"{where}: gets the Services as variables")
    return found


def bounds(manifests: Manifests) -> list[str]:
    """Requests and limits of everything that a node runs out of; temporary folders within them."""
    found = []
    for pod in manifests.pods():
        for name, container in pod.containers():
            resources = container.get("resources", {})
            requests, limits = resources.get("requests", {}), resources.get("limits", {})
            found += [f"{name}: no request of {what}" for what in BOUNDED if what not in requests]
            found += [f"{name}: no limit of {what}" for what in BOUNDED if what not in limits]
            found += [
                f"{name}: requests more {what} than its limit"
                for what in requests
                if what in limits and quantity(requests[what]) > quantity(limits[what])
            ]
        found += _temporary(pod)
    return found


def _temporary(pod: Pod) -> list[str]:
    folders = [volume["emptyDir"] or {} for volume in pod.spec.get("volumes", []) if "emptyDir" in volume]
    where = f"{pod.kind}/{pod.name}"
    if any("sizeLimit" not in folder for folder in folders):
        return [f"{where}: a temporary folder without bound"]
    room = quantity(pod.main.get("resources", {}).get("limits", {}).get("ephemeral-storage", 0))
    if sum(quantity(folder["sizeLimit"]) for folder in folders) > room:
        return [f"{where}: temporary folders larger than the limit of ephemeral storage"]
    return []


def probes(manifests: Manifests) -> list[str]:
    """All three on what runs for long; liveness asks something else than readiness, and runs no interpreter."""
    found = []
    for pod in manifests.pods():
        if pod.kind in ("Job", "CronJob"):
            continue
        where = f"{pod.kind}/{pod.name}"
        found += [f"{where}: no {probe}" for probe in PROBES if probe not in pod.main]
        paths = [pod.main.get(probe, {}).get("httpGet", {}).get("path") for probe in PROBES[1:]]
        if pod in manifests.ours() and paths != ["/readyz", "/livez"]:
            found.append(f"{where}: readiness and liveness ask {paths}")
        if pod in manifests.ours() and any("exec" in pod.main.get(probe, {}) for probe in PROBES):
            found.append(f"{where}: a probe starts an interpreter")
    return found


def mounts(manifests: Manifests) -> list[str]:
    """Every mount has its volume and lies in no other mount: a folder cannot be made in a read-only volume."""
    found = []
    for pod in manifests.pods():
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in _claim_templates(manifests, pod)}
        for name, container in pod.containers():
            paths = [PurePosixPath(mount["mountPath"]) for mount in container.get("volumeMounts", [])]
            found += [f"{name}: {path} in another mount" for path in paths if set(path.parents) & set(paths)]
            found += [
                f"{name}: no volume {mount['name']}"
                for mount in container.get("volumeMounts", [])
                if mount["name"] not in volumes
            ]
    return found


def _claim_templates(manifests: Manifests, pod: Pod) -> list[Object]:
    templates: list[Object] = manifests.one(pod.kind, pod.name)["spec"].get("volumeClaimTemplates", [])
    return templates


def images(manifests: Manifests) -> list[str]:
    """One image, in one version, for all that is ours; a tag that does not move for everything."""
    ours = {container["image"] for pod in manifests.ours() for _, container in pod.containers()}
    found = [] if len(ours) == 1 else [f"several images of ours: {sorted(ours)}"]
    for pod in manifests.pods():
        for name, container in pod.containers():
            _, _, tag = container["image"].rpartition("/")[2].partition(":")
            if tag in ("", "latest"):
                found.append(f"{name}: no fixed tag: {container['image']}")
            if pod not in manifests.ours() and container["image"] in ours:
                found.append(f"{name}: runs our image under another name")
    return found
