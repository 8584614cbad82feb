"""Every pod by itself, and for each check what it looks like when it fails."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.manifests.checks import pods
from tests.manifests.objects import Manifests, Object

Check = Callable[[Manifests], list[str]]
CHECKS: list[Check] = [
    pods.rights,
    pods.tokens,
    pods.bounds,
    pods.probes,
    pods.mounts,
    pods.images,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_pod_keeps_the_rules(manifests: Manifests, check: Check) -> None:
    assert check(manifests) == []


def test_production_runs_the_version_of_this_repository(production_s3: Manifests, production_rwx: Manifests) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for manifests in (production_s3, production_rwx):
        assert manifests.pod("gateway").main["image"].endswith(f"/sluice:{project['version']}")
        assert manifests.pod("migrate").name == f"migrate-{project['version']}"


def test_the_pods_run_as_the_user_of_the_image_and_name_its_commands(manifests: Manifests) -> None:
    dockerfile = Path(__file__).parents[2] / "Dockerfile"
    if not dockerfile.exists():
        pytest.skip("no Dockerfile in this version")
    lines = dockerfile.read_text().splitlines()
    assert f"USER {pods.USER}:{pods.USER}" in lines
    assert 'ENTRYPOINT ["sluice"]' in lines
    assert [where for pod in manifests.ours() for where, each in pod.containers() if "command" in each] == []


def spec(manifests: Manifests) -> Object:
    found: Object = manifests.one("Deployment", "gateway")["spec"]["template"]["spec"]
    return found


def container(manifests: Manifests) -> Object:
    found: Object = spec(manifests)["containers"][0]
    return found


def init(manifests: Manifests) -> Object:
    found: Object = spec(manifests)["initContainers"][0]
    return found


CONTROLS: list[tuple[Check, str, Callable[[Manifests], object]]] = [
    (pods.rights, "may run as root", lambda m: spec(m)["securityContext"].pop("runAsNonRoot")),
    (pods.rights, "not the user of the image", lambda m: spec(m)["securityContext"].update(runAsUser=1000)),
    (pods.rights, "no seccomp profile", lambda m: spec(m)["securityContext"].pop("seccompProfile")),
    (pods.rights, "hostNetwork", lambda m: spec(m).update(hostNetwork=True)),
    (pods.rights, "hostPath", lambda m: spec(m)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    (pods.rights, "readOnlyRootFilesystem", lambda m: init(m)["securityContext"].pop("readOnlyRootFilesystem")),
    (pods.rights, "allowPrivilegeEscalation", lambda m: container(m).pop("securityContext")),
    (pods.rights, "privileged", lambda m: container(m)["securityContext"].update(privileged=True)),
    (pods.rights, "capabilities", lambda m: container(m)["securityContext"]["capabilities"].update(add=["CHOWN"])),
    (pods.tokens, "gets a token", lambda m: spec(m).pop("automountServiceAccountToken")),
    (pods.tokens, "no service account other", lambda m: spec(m).update(serviceAccountName="other")),
    (pods.tokens, "hands out tokens", lambda m: m.one("ServiceAccount", "gateway").pop("automountServiceAccountToken")),
    (pods.tokens, "Services as variables", lambda m: spec(m).pop("enableServiceLinks")),
    (pods.bounds, "no limit of memory", lambda m: init(m)["resources"]["limits"].pop("memory")),
    (pods.bounds, "no request of cpu", lambda m: container(m)["resources"]["requests"].pop("cpu")),
    (pods.bounds, "than its limit", lambda m: container(m)["resources"]["requests"].update(memory="1Gi")),
    (pods.bounds, "without bound", lambda m: spec(m)["volumes"][0].update(emptyDir={})),
    (pods.bounds, "larger than the limit", lambda m: spec(m)["volumes"][0]["emptyDir"].update(sizeLimit="1Gi")),
    (pods.probes, "no startupProbe", lambda m: container(m).pop("startupProbe")),
    (pods.probes, "ask", lambda m: container(m)["livenessProbe"]["httpGet"].update(path="/readyz")),
    (pods.probes, "interpreter", lambda m: container(m)["startupProbe"].update(exec={"command": ["sluice"]})),
    (pods.mounts, "in another mount", lambda m: container(m)["volumeMounts"].append(_mount("tmp", "/tmp/inner"))),
    (pods.mounts, "no volume other", lambda m: container(m)["volumeMounts"].append(_mount("other", "/other"))),
    (pods.images, "several images", lambda m: init(m).update(image="sluice:other")),
    (pods.images, "no fixed tag", lambda m: _one_image(m, "registry.example:5000/sluice")),
    (pods.images, "no fixed tag", lambda m: _one_image(m, "sluice:latest")),
]


@pytest.mark.parametrize(("check", "finding", "breaking"), CONTROLS)
def test_a_broken_rule_is_found(
    dev: Manifests, check: Check, finding: str, breaking: Callable[[Manifests], object]
) -> None:
    assert any(finding in line for line in check(dev.but(breaking)))


def _mount(name: str, path: str) -> Object:
    return {"name": name, "mountPath": path}


def _one_image(manifests: Manifests, image: str) -> None:
    for pod in manifests.ours():
        for _, each in pod.containers():
            each["image"] = image
