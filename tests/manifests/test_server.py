"""What a real API server says: `make test-kubernetes` runs one of our own, KUBECONFIG names somebody else's.

On somebody else's nothing is changed: dry runs only.
"""

import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manifests.api_server import ApiServer, api_server
from tests.manifests.objects import Manifests, Object

NONE = "no API server: `make test-kubernetes` builds one, KUBECONFIG names one"
PROGRAMS = os.environ.get("KUBERNETES_PROGRAMS")
KUBECTL = shutil.which("kubectl")
HARMLESS = (
    "metadata.name: this is used in Pod names and hostnames",  # the dots of the version, deploy/k8s/README.md
    "resource namespaces/sluice is missing",  # made by `kubectl create`, on somebody else's server
)

if not PROGRAMS and not (KUBECTL and os.environ.get("KUBECONFIG")):
    pytest.skip(NONE, allow_module_level=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    if PROGRAMS:
        with api_server(Path(PROGRAMS), tmp_path_factory.mktemp("kubernetes")) as ours:
            yield ours
    else:
        assert KUBECTL is not None
        yield ApiServer(KUBECTL, (), ours=False)  # it reads KUBECONFIG, which may be a list


@pytest.fixture
def own_server(server: ApiServer) -> Iterator[ApiServer]:
    """Ours, with an empty namespace `sluice`."""
    if not server.ours:
        pytest.skip("changes objects: only on a server of our own (`make test-kubernetes`)")
    yield server
    kinds = server.ask("api-resources", "--verbs=delete", "--namespaced", "-o", "name").stdout.split()
    server.ask("delete", ",".join(kinds), "--all", "-n", "sluice", "--wait=false").check_returncode()


def warnings(said: str) -> list[str]:
    found = [line.removeprefix("Warning: ") for line in said.splitlines() if line.startswith("Warning: ")]
    return [line for line in found if not line.startswith(HARMLESS)]


def test_the_server_takes_every_object(server: ApiServer, manifests: Manifests) -> None:
    if server.ours:
        server.apply(manifests.of("Namespace")).check_returncode()
    elif server.ask("get", "namespace", "sluice").returncode != 0:
        pytest.skip("the server has no namespace sluice, and nothing is made there")
    ended = server.apply(manifests.objects, "--dry-run=server")
    if not server.ours and "no matches for kind" in ended.stderr:
        pytest.skip("the server lacks an extension that this overlay uses")
    assert ended.returncode == 0, ended.stderr
    assert warnings(ended.stderr) == []
    assert len(ended.stdout.splitlines()) == len(manifests.objects)


def versions(server: ApiServer, manifests: Manifests) -> list[str]:
    """Kind, name and resource version of all objects; whatever changes has a new one."""
    shown = "{range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{'\\n'}{end}"
    ended = server.ask("get", "-f", "-", "-o", f"jsonpath={shown}", objects=manifests.objects)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_applied_twice_nothing_changes(own_server: ApiServer, manifests: Manifests) -> None:
    assert own_server.apply(manifests.objects).returncode == 0
    before = versions(own_server, manifests)
    assert len(before) == len(manifests.objects)

    again = own_server.apply(manifests.objects)

    assert again.returncode == 0, again.stderr
    assert versions(own_server, manifests) == before
    assert own_server.ask("diff", "-f", "-", objects=manifests.objects).returncode == 0


def of_version(manifests: Manifests, version: str) -> Manifests:
    """The same for another version of the image."""

    def change(altered: Manifests) -> None:
        for pod in altered.ours():
            for _, container in pod.containers():
                container["image"] = f"{container['image'].rpartition(':')[0]}:{version}"
        (job,) = altered.of("Job")
        job["metadata"]["name"] = f"migrate-{version}"

    return manifests.but(change)


def test_a_new_version_is_a_new_migration(own_server: ApiServer, production_s3: Manifests) -> None:
    for version in ("0.1.0", "0.2.0"):
        ended = own_server.apply(of_version(production_s3, version).objects)
        assert ended.returncode == 0, ended.stderr
    assert own_server.ask("get", "jobs", "-n", "sluice", "-o", "name").stdout.splitlines() == [
        "job.batch/migrate-0.1.0",
        "job.batch/migrate-0.2.0",
    ]


def test_a_migration_that_kept_its_name_would_be_refused(own_server: ApiServer, production_s3: Manifests) -> None:
    assert own_server.apply(production_s3.of("Namespace", "Job")).returncode == 0
    (job,) = copy.deepcopy(production_s3.of("Job"))
    job["spec"]["template"]["spec"]["containers"][0]["image"] = "sluice:0.2.0"
    refused = own_server.apply([job])
    assert refused.returncode == 1
    assert "field is immutable" in refused.stderr


def alone(manifests: Manifests, component: str) -> Object:
    """A pod as a controller would make it."""
    pod = manifests.pod(component)
    metadata = {"name": f"alone-{component}", "namespace": "sluice", "labels": dict(pod.labels)}
    volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
    mounted = {mount["name"] for _, container in pod.containers() for mount in container.get("volumeMounts", [])}
    claimed = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in sorted(mounted - volumes)]
    spec = copy.deepcopy(pod.spec)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec | {"volumes": [*spec.get("volumes", []), *claimed]},
    }


def test_pod_security_admits_every_pod(own_server: ApiServer, manifests: Manifests) -> None:
    assert own_server.apply(manifests.of("Namespace", "ServiceAccount")).returncode == 0
    for pod in manifests.pods():
        ended = own_server.ask("create", "--dry-run=server", "-f", "-", objects=[alone(manifests, pod.component)])
        assert ended.returncode == 0, ended.stderr


def test_pod_security_refuses_a_pod_that_may_be_root(own_server: ApiServer, dev: Manifests) -> None:
    assert own_server.apply(dev.of("Namespace", "ServiceAccount")).returncode == 0
    pod = alone(dev, "gateway")
    del pod["spec"]["securityContext"]["runAsNonRoot"]
    ended = own_server.ask("create", "--dry-run=server", "-f", "-", objects=[pod])
    assert 'violates PodSecurity "restricted' in ended.stderr


@pytest.mark.parametrize("kind", ["ScaledObject", "HTTPRoute", "ServiceMonitor", "PrometheusRule"])
def test_a_typing_mistake_in_an_extension_is_refused(
    own_server: ApiServer, production_s3: Manifests, kind: str
) -> None:
    thing = copy.deepcopy(production_s3.of(kind)[0])
    thing["spec"]["typingMistake"] = "x"
    ended = own_server.apply([*production_s3.of("Namespace"), thing], "--dry-run=server")
    assert 'unknown field "spec.typingMistake"' in ended.stderr
