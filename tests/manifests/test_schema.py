"""Strict schemas of the newest Kubernetes minor and the two before it: no typing mistake, no field that is gone."""

from collections.abc import Callable
from functools import cache

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from kubernetes_validate import utils

from tests.manifests.objects import Manifests, Object

VERSIONS = list(dict.fromkeys(utils.all_versions()))[-3:]
# Their schemas are not Kubernetes' own; `make test-kubernetes` asks a real server that has them.
EXTENSIONS = {
    "gateway.networking.k8s.io/v1",
    "keda.sh/v1alpha1",
    "monitoring.coreos.com/v1",
}


@pytest.fixture(autouse=True, scope="module")
def read_each_schema_once() -> object:
    """The package reads its files of some megabytes anew for every object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


def mistakes(manifests: Manifests, version: str) -> list[str]:
    found = []
    for thing in manifests.objects:
        if thing["apiVersion"] in EXTENSIONS:
            continue
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{thing['kind']}/{thing['metadata']['name']}: {error.message}")
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema(manifests: Manifests, version: str) -> None:
    assert mistakes(manifests, version) == []


def typing_mistake(deployment: Object) -> None:
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 45


def wrong_type(deployment: Object) -> None:
    deployment["spec"]["template"]["spec"]["enableServiceLinks"] = "no"


def field_that_is_missing(deployment: Object) -> None:
    del deployment["spec"]["selector"]


@pytest.mark.parametrize("breaking", [typing_mistake, wrong_type, field_that_is_missing])
def test_a_mistake_does_not_fit(dev: Manifests, breaking: Callable[[Object], None]) -> None:
    broken = dev.but(lambda manifests: breaking(manifests.one("Deployment", "gateway")))
    assert len(mistakes(broken, VERSIONS[-1])) == 1
