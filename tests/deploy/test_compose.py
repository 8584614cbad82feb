"""docker-compose.yml against itself: nothing is named that does not exist, everything waits for what it needs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from common.settings import load_settings
from tests.deploy.compose_file import WITHOUT_END, Compose, read_compose

TOPOLOGY = {"nginx", "gateway-1", "gateway-2", "worker-1", "worker-2", "migrate", "redis", "postgres"}

# Members of the compose specification that are used here: a new one is looked up there and added, a wrong one found.
TOP = {"name", "services", "networks", "volumes", "secrets"}
SERVICE = {
    *("image", "build", "profiles", "init", "user", "entrypoint", "command", "environment", "env_file", "secrets"),
    *("restart", "stop_signal", "stop_grace_period", "healthcheck", "depends_on", "deploy", "logging", "shm_size"),
    *("read_only", "cap_drop", "security_opt", "tmpfs", "volumes", "networks", "network_mode", "ports", "expose"),
}
DEPENDENCY = {"condition", "required", "restart"}
HEALTH_CHECK = {"test", "interval", "timeout", "retries", "start_period"}


@pytest.fixture(scope="module")
def compose(root: Path) -> Compose:
    return read_compose(root)


def test_without_a_profile_it_is_the_whole_service_on_a_volume(compose: Compose) -> None:
    assert {name for name, service in compose.services.items() if "profiles" not in service} == TOPOLOGY


def test_every_member_is_one_of_the_compose_specification(compose: Compose) -> None:
    assert {name for name in compose.document if not name.startswith("x-")} <= TOP
    for name, service in compose.services.items():
        assert set(service) <= SERVICE, name
        assert set(service.get("healthcheck", {})) <= HEALTH_CHECK, name
        assert set().union(*service.get("depends_on", {}).values()) <= DEPENDENCY, name


def test_what_is_named_is_declared(compose: Compose) -> None:
    document = compose.document
    for name, service in compose.services.items():
        assert set(service.get("networks", [])) <= set(document["networks"]), name
        assert set(service.get("secrets", [])) <= set(document["secrets"]), name
        assert set(service.get("depends_on", [])) <= set(compose.services), name
        mounted = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert {source for source in mounted if not source.startswith("./")} <= set(document["volumes"]), name


@pytest.mark.parametrize("storage", ["volume", "s3"])
def test_files_that_are_named_exist(root: Path, storage: str) -> None:
    compose = read_compose(root, STORAGE=storage)
    named = [compose.secret(name) for name in compose.document["secrets"]]
    for service in compose.services.values():
        named += [root / file for file in service.get("env_file", [])]
        sources = (volume.split(":")[0] for volume in service.get("volumes", []))
        named += [root / source for source in sources if source.startswith("./")]
    assert [path for path in named if not path.exists()] == []


def test_every_service_waits_until_what_it_needs_is_healthy_or_done(compose: Compose) -> None:
    wrong = [
        f"{name} -> {needed}"
        for name, service in compose.services.items()
        for needed, how in service.get("depends_on", {}).items()
        if how["condition"] != ("service_completed_successfully" if needed in WITHOUT_END else "service_healthy")
    ]
    assert wrong == []


def test_gateways_and_workers_wait_for_the_migration(compose: Compose) -> None:
    waiting = {name for name, service in compose.services.items() if "migrate" in service.get("depends_on", {})}
    assert waiting == {"gateway-1", "gateway-2", "worker-1", "worker-2"}


def test_what_runs_on_is_started_again_and_has_a_health_check(compose: Compose) -> None:
    for name, service in compose.services.items():
        runs_on = name not in WITHOUT_END
        assert (service["restart"] == "unless-stopped") == runs_on, name
        assert ("healthcheck" in service) == (runs_on), name


def test_every_container_is_locked_down_and_bounded(compose: Compose) -> None:
    for name, service in compose.services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert not {"privileged", "cap_add", "network_mode"} & set(service) or name == "s3-bucket", name


def test_only_the_proxy_is_reached_from_outside_and_only_from_this_machine(compose: Compose) -> None:
    published = {name: service["ports"] for name, service in compose.services.items() if "ports" in service}
    assert published == {"nginx": ["127.0.0.1:8000:8080"]}
    assert compose.document["networks"]["back"]["internal"] is True
    assert set(compose.services["nginx"]["networks"]).isdisjoint({"back"})


def test_no_page_is_sent_to_a_store_that_is_not_reached_from_outside(root: Path) -> None:
    compose = read_compose(root, STORAGE="s3")
    assert "ports" not in compose.services["s3"]
    assert not load_settings(environ=compose.environment("gateway-1")).storage.s3_companion_direct


def test_images_of_others_have_a_version_and_can_be_given_by_digest(root: Path, compose: Compose) -> None:
    for name in ("NGINX_IMAGE", "REDIS_IMAGE", "POSTGRES_IMAGE", "S3_IMAGE"):
        assert "example@sha256:0" in read_compose(root, **{name: "example@sha256:0"}).text
    foreign = {service["image"] for name, service in compose.services.items() if name not in compose.of_ours()}
    assert [image for image in foreign if image.rpartition(":")[2] in ("", "latest")] == []


def test_no_secret_stands_in_the_compose_file(root: Path, compose: Compose) -> None:
    text = (root / "docker-compose.yml").read_text()
    assert compose.secret("postgres-password").read_text().strip() not in text
    assert "://sluice:" not in text


def test_a_compose_that_is_installed_accepts_the_file(root: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("no docker with its compose plugin on this machine")
    command = [docker, "compose", "--profile", "s3", "config", "--quiet"]
    checked = subprocess.run(command, cwd=root, env={**os.environ, "STORAGE": "s3"}, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr == ""
