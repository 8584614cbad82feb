"""The variables of the pods are settings, the commands are commands, and the probes ask routes that exist."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.routing import Route

from cli.main import COMMANDS
from common.telemetry import Metrics
from gateway.app import create_app
from gateway.surfaces import SURFACES
from tests.manifests.checks import environment
from tests.manifests.checks.environment import settings
from tests.manifests.objects import Manifests, Object, Pod
from worker.health import Health, health_app

Check = Callable[[Manifests], Iterator[str]]
CHECKS: list[Check] = [
    environment.unknown,
    environment.unset,
    environment.refused,
    environment.differing,
]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
INSIDE = {"/livez", "/readyz", "/startupz", "/metrics"}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_variables_are_settings(manifests: Manifests, check: Check) -> None:
    assert list(check(manifests)) == []


def test_the_defaults_for_a_laptop_are_known_as_such() -> None:
    assert environment.laptop_defaults() == {
        "SLUICE_DATABASE_URL",
        "SLUICE_REDIS_URL",
        "SLUICE_STORAGE_URL",
        "SLUICE_HEALTH_HOST",
    }


def test_each_worker_runs_the_kind_it_is_named_for(manifests: Manifests) -> None:
    for kind in ("finalize", "metadata"):
        assert settings(manifests, manifests.pod(kind).main).worker.worker_queues == (kind,)


def test_every_container_of_ours_runs_a_command_of_ours(manifests: Manifests) -> None:
    commands = {name for name, _, _ in COMMANDS}
    assert {container["args"][0] for pod in manifests.ours() for _, container in pod.containers()} <= commands


def test_the_pods_wait_for_the_schema_before_they_start(manifests: Manifests) -> None:
    for pod in manifests.ours():
        waiting = [container["args"][:2] for container in pod.spec.get("initContainers", [])]
        serves = pod.component not in ("migrate", "doctor")
        assert waiting == ([["migrate", "--wait"]] if serves else [])


def listens(manifests: Manifests, pod: Pod) -> tuple[str, int]:
    """Host and port that the process in a pod takes."""
    if pod.component == "gateway":
        words = pod.main["args"]
        return words[words.index("--host") + 1], int(words[words.index("--port") + 1])
    worker = settings(manifests, pod.main).worker
    return worker.health_host, worker.health_port


@pytest.mark.parametrize("component", ["gateway", "finalize", "metadata"])
def test_the_process_listens_where_the_pod_says(manifests: Manifests, component: str) -> None:
    pod = manifests.pod(component)
    assert listens(manifests, pod) == ("0.0.0.0", pod.main["ports"][0]["containerPort"])


def routes(manifests: Manifests, pod: Pod) -> set[str]:
    """Paths that the process in a pod answers to GET."""
    those = settings(manifests, pod.main)
    if pod.component == "gateway":
        return set(create_app(those).openapi()["paths"]) | of_surfaces()
    return {route.path for route in health_app(Health(those.worker), Metrics()).routes if isinstance(route, Route)}


def of_surfaces() -> set[str]:
    """Paths of the surfaces beside the native one, which are not in the OpenAPI document."""
    routers = [router for surface in SURFACES for router in surface.routers]
    return {route.path for router in routers for route in router.routes if isinstance(route, Route)}


def probed(pod: Pod) -> set[str]:
    return {pod.main[probe]["httpGet"]["path"] for probe in PROBES}


@pytest.mark.parametrize("component", ["gateway", "finalize", "metadata"])
def test_probes_and_monitors_ask_routes_that_exist(manifests: Manifests, component: str) -> None:
    pod = manifests.pod(component)
    asked = {endpoint["path"] for thing in manifests.of("ServiceMonitor") for endpoint in thing["spec"]["endpoints"]}
    assert probed(pod) | asked <= routes(manifests, pod)


def prefixes(manifests: Manifests) -> set[str]:
    """What comes in from outside."""
    found: set[str] = set()
    for route in manifests.of("HTTPRoute"):
        found |= {match["path"]["value"] for rule in route["spec"]["rules"] for match in rule["matches"]}
    for ingress in manifests.of("Ingress"):
        found |= {path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]}
    return found


def test_every_surface_is_reached_from_outside_and_nothing_else_is(
    production_s3: Manifests, production_rwx: Manifests
) -> None:
    for manifests in (production_s3, production_rwx):
        answered, ways = routes(manifests, manifests.pod("gateway")), prefixes(manifests)
        reached = {path for path in answered if any(f"{path}/".startswith(f"{way}/") for way in ways)}
        assert answered - reached == INSIDE


def test_the_addresses_that_are_handed_out_are_those_of_the_way_in(
    production_s3: Manifests, production_rwx: Manifests
) -> None:
    for manifests in (production_s3, production_rwx):
        (host,) = hosts(manifests)
        assert variables(manifests)["SLUICE_PUBLIC_URL"] == f"https://{host}"


def test_no_page_is_sent_to_a_store_that_only_pods_reach(dev: Manifests) -> None:
    storage = settings(dev, dev.pod("gateway").main).storage
    assert storage.s3_endpoint_url == "http://s3:7070"
    assert not storage.s3_companion_direct


def hosts(manifests: Manifests) -> set[str]:
    routed = {host for route in manifests.of("HTTPRoute") for host in route["spec"]["hostnames"]}
    return routed | {rule["host"] for ingress in manifests.of("Ingress") for rule in ingress["spec"]["rules"]}


def variables(manifests: Manifests) -> dict[str, Any]:
    (found,) = [
        thing["data"] for thing in manifests.of("ConfigMap") if thing["metadata"]["name"].startswith("settings")
    ]
    assert isinstance(found, dict)
    return found


def drop_variable(manifests: Manifests, component: str, name: str) -> None:
    main = manifests.pod(component).main
    main["env"] = [variable for variable in main["env"] if variable["name"] != name]


def add_variable(manifests: Manifests, component: str, name: str, value: str) -> None:
    variable: Object = {"name": name, "value": value}
    manifests.pod(component).main["env"].append(variable)


CONTROLS: list[tuple[Check, str, Callable[[Manifests], object]]] = [
    (environment.unknown, "SLUICE_DRAIN_SECOND", lambda m: variables(m).update(SLUICE_DRAIN_SECOND="25")),
    (environment.unset, "SLUICE_HEALTH_HOST", lambda m: variables(m).pop("SLUICE_HEALTH_HOST")),
    (environment.unset, "SLUICE_STORAGE_URL", lambda m: variables(m).pop("SLUICE_STORAGE_URL")),
    (environment.unset, "SLUICE_REDIS_URL", lambda m: drop_variable(m, "metadata", "SLUICE_REDIS_URL")),
    (environment.refused, "SLUICE_DRAIN_SECONDS", lambda m: variables(m).update(SLUICE_DRAIN_SECONDS="soon")),
    (environment.refused, "SLUICE_WORKER_QUEUES", lambda m: add_variable(m, "metadata", "SLUICE_WORKER_QUEUES", "x")),
    (environment.differing, "SLUICE_VERIFY", lambda m: add_variable(m, "finalize", "SLUICE_VERIFY", "receipts")),
]


@pytest.mark.parametrize(("check", "finding", "breaking"), CONTROLS)
def test_a_wrong_variable_is_found(
    production_rwx: Manifests, check: Check, finding: str, breaking: Callable[[Manifests], object]
) -> None:
    assert any(finding in line for line in check(production_rwx.but(breaking)))


def test_a_probe_for_a_route_that_does_not_exist_is_found(dev: Manifests) -> None:
    def misspell(manifests: Manifests) -> None:
        manifests.pod("gateway").main["livenessProbe"]["httpGet"]["path"] = "/healthz"

    broken = dev.but(misspell).pod("gateway")
    assert probed(broken) - routes(dev, broken) == {"/healthz"}
