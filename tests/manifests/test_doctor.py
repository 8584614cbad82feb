"""The doctor of the manifests sees what the gateways see; where the authority of the database is put, all find it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.manifests.objects import Manifests, Object

README = Path(__file__).parents[2] / "deploy" / "k8s" / "README.md"
CA = "/etc/sluice/database"


def unlike_a_gateway(manifests: Manifests) -> Iterator[str]:
    """What the doctor would look at with other eyes."""
    gateway, doctor = manifests.pod("gateway"), manifests.pod("doctor")
    ours, theirs = manifests.environment(doctor.main), manifests.environment(gateway.main)
    yield from (name for name in {*ours, *theirs} if name not in ours or ours[name] != theirs.get(name))
    here, there = named(doctor.spec["volumes"]), named(gateway.spec["volumes"])
    yield from (f"volume {name}" for name in {*here, *there} - {"tmp"} if here.get(name) != there.get(name))
    here, there = named(doctor.main["volumeMounts"]), named(gateway.main["volumeMounts"])
    yield from (f"mount {name}" for name in {*here, *there} if here.get(name) != there.get(name))
    if doctor.spec["serviceAccountName"] != gateway.spec["serviceAccountName"]:
        yield "account"


def named(things: list[Object]) -> dict[str, Object]:
    return {thing["name"]: thing for thing in things}


def test_the_doctor_has_what_the_gateways_have(manifests: Manifests) -> None:
    assert list(unlike_a_gateway(manifests)) == []


CONTROLS: list[tuple[str, Callable[[Manifests], object]]] = [
    ("SLUICE_REDIS_URL", lambda m: m.pod("doctor").main["env"].pop()),
    ("SLUICE_VERIFY", lambda m: m.pod("gateway").main["env"].append({"name": "SLUICE_VERIFY", "value": "read"})),
    ("volume storage", lambda m: m.pod("doctor").spec["volumes"].pop(1)),
    ("mount storage", lambda m: m.pod("doctor").main["volumeMounts"].pop(1)),
    ("account", lambda m: m.pod("doctor").spec.update(serviceAccountName="worker")),
]


@pytest.mark.parametrize(("finding", "breaking"), CONTROLS)
def test_other_eyes_are_found(production_rwx: Manifests, finding: str, breaking: Callable[[Manifests], object]) -> None:
    assert finding in set(unlike_a_gateway(production_rwx.but(breaking)))


def test_it_runs_when_somebody_asks_and_not_by_itself(manifests: Manifests) -> None:
    spec = manifests.one("CronJob", "doctor")["spec"]
    assert spec["suspend"] is True
    assert (spec["jobTemplate"]["spec"]["backoffLimit"], manifests.pod("doctor").main["args"]) == (0, ["doctor"])
    assert "kubectl create job doctor-1 --from=cronjob/doctor -n sluice" in README.read_text()


# --- the authority of the database --------------------------------------------------------------------------


def without_authority(manifests: Manifests) -> list[str]:
    """Containers that speak to the database and could not check its certificate."""
    return [
        name
        for pod in manifests.ours()
        for name, container in pod.containers()
        if "SLUICE_DATABASE_URL" in manifests.environment(container)
        and CA not in {mount["mountPath"] for mount in container.get("volumeMounts", [])}
    ]


def test_whoever_speaks_to_a_database_outside_finds_its_authority(
    production_s3: Manifests, production_rwx: Manifests
) -> None:
    assert without_authority(production_s3) == without_authority(production_rwx) == []


def test_a_container_without_it_is_found(production_s3: Manifests) -> None:
    broken = production_s3.but(lambda m: m.pod("finalize").spec["initContainers"][0].pop("volumeMounts"))
    assert without_authority(broken) == ["Deployment/worker-finalize/schema"]


def test_nobody_has_to_bring_it(production_s3: Manifests) -> None:
    volumes = [volume for pod in production_s3.ours() for volume in pod.spec["volumes"]]
    found = [volume["configMap"] for volume in volumes if volume["name"] == "database-ca"]
    assert len(found) == len(production_s3.ours())
    assert {(source["name"], source["optional"]) for source in found} == {("database-ca", True)}


def test_the_readme_names_its_file() -> None:
    text = README.read_text()
    assert re.search(rf"sslmode=verify-full&sslrootcert={CA}/ca\.pem", text)
    assert "kubectl create configmap database-ca --from-file=ca.pem -n sluice" in text
