"""docker-compose.yml against the service: settings it knows, routes it has, bounds it keeps, passwords that match."""

import configparser
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from dotenv import dotenv_values

from common.settings import Settings, load_settings, variable_names
from common.telemetry import Metrics
from gateway.api import health as gateway_health
from tests.deploy.compose_file import Compose, read_compose, seconds
from worker.health import Health, health_app

POSTGRES_CONNECTIONS = 100  # `max_connections` of PostgreSQL where nobody sets it
CLOSING = 5.0  # seconds after the drain of a gateway; docs/operations.md
GIVING_BACK = 25.0  # seconds after the drain of a worker; docs/operations.md


def settings_of(compose: Compose, name: str) -> Settings:
    return load_settings(environ=compose.environment(name))


@pytest.fixture(scope="module")
def compose(root: Path) -> Compose:
    return read_compose(root)


@pytest.mark.parametrize("storage", ["volume", "s3"])
def test_every_setting_is_one_that_the_service_knows(root: Path, storage: str) -> None:
    compose = read_compose(root, STORAGE=storage)
    if storage == "s3" and "SLUICE_S3_ENDPOINT_URL" not in variable_names():
        pytest.skip("this version of the service has no storage on S3")
    for name in compose.of_ours():
        settings = settings_of(compose, name)  # refuses unknown names and wrong values
        assert settings.storage.storage_url.startswith({"volume": "file:///srv/sluice/", "s3": "s3://"}[storage])


def test_all_parts_name_the_same_database_redis_and_storage(compose: Compose) -> None:
    named = {
        (settings.database.database_url, settings.redis.redis_url, settings.storage.storage_url)
        for settings in (settings_of(compose, name) for name in compose.of_ours())
    }
    assert len(named) == 1


def test_the_addresses_are_those_of_the_services(compose: Compose) -> None:
    settings = settings_of(compose, "gateway-1")
    assert urlsplit(settings.database.database_url).hostname in compose.services
    assert urlsplit(settings.redis.redis_url).hostname in compose.services


def test_health_checks_ask_routes_that_exist_on_the_port_that_is_listened_on(compose: Compose) -> None:
    settings = settings_of(compose, "worker-1")
    routes = {
        "gateway": {route.path for route in gateway_health.router.routes if hasattr(route, "path")},
        "worker": {
            route.path for route in health_app(Health(settings.worker), Metrics()).routes if hasattr(route, "path")
        },
    }
    for name in ("gateway-1", "gateway-2", "worker-1", "worker-2"):
        service = compose.services[name]
        how, program, port, path = service["healthcheck"]["test"]
        command = service["command"]
        assert (how, program) == ("CMD", "probe")
        assert path in routes[command[0]]
        assert port == (
            command[command.index("--port") + 1] if "--port" in command else str(settings.worker.health_port)
        )


def test_nobody_is_killed_before_the_bounds_of_the_drain_are_over(compose: Compose) -> None:
    for name in ("gateway-1", "gateway-2"):
        grace = seconds(compose.services[name]["stop_grace_period"])
        assert grace >= settings_of(compose, name).http.drain_seconds + CLOSING
    for name in ("worker-1", "worker-2"):
        grace = seconds(compose.services[name]["stop_grace_period"])
        assert grace >= settings_of(compose, name).worker.worker_drain_seconds + GIVING_BACK


def test_the_proxy_leaves_time_for_what_is_in_flight(root: Path, compose: Compose) -> None:
    bound = re.search(r"^worker_shutdown_timeout (\d+)s;", (root / "deploy/nginx/nginx.conf").read_text(), re.MULTILINE)
    assert bound is not None
    assert compose.services["nginx"]["stop_signal"] == "SIGQUIT"
    assert seconds(compose.services["nginx"]["stop_grace_period"]) >= float(bound[1])


def test_the_proxy_names_the_gateways_and_listens_where_the_port_leads(root: Path, compose: Compose) -> None:
    servers = re.findall(r"^ *server ([\w-]+):(\d+)", (root / "deploy/nginx/gateways.conf").read_text(), re.MULTILINE)
    gateways = {name: service["command"] for name, service in compose.services.items() if name.startswith("gateway")}
    assert dict(servers) == {name: command[command.index("--port") + 1] for name, command in gateways.items()}
    target = compose.services["nginx"]["ports"][0].rpartition(":")[2]
    assert f"listen {target} " in (root / "deploy/nginx/listen.conf").read_text()


def test_the_pools_of_all_processes_fit_into_the_database(compose: Compose) -> None:
    parts = [name for name in compose.of_ours() if name != "migrate"]
    assert sum(settings_of(compose, name).database.database_pool_size for name in parts) + 1 < POSTGRES_CONNECTIONS / 2


def test_gateways_and_workers_share_one_volume_that_holds_the_storage(compose: Compose) -> None:
    assert {tuple(service["volumes"]) for service in compose.of_ours().values()} == {("storage:/srv/sluice",)}


def test_the_passwords_on_both_sides_are_the_same(compose: Compose) -> None:
    settings = settings_of(compose, "gateway-1")
    database, redis = urlsplit(settings.database.database_url), urlsplit(settings.redis.redis_url)
    assert compose.secret("postgres-password").read_text().strip() == database.password
    assert compose.services["postgres"]["environment"]["POSTGRES_USER"] == database.username
    assert f"user {redis.username} on >{redis.password} " in compose.secret("redis-users.acl").read_text()


def test_the_store_and_the_service_have_the_same_keys(compose: Compose) -> None:
    ours = configparser.ConfigParser()
    ours.read(compose.secret("aws-credentials"))
    theirs = dotenv_values(compose.root / compose.services["s3"]["env_file"][0])
    assert ours["default"]["aws_access_key_id"] == theirs["ROOT_ACCESS_KEY"]
    assert ours["default"]["aws_secret_access_key"] == theirs["ROOT_SECRET_KEY"]


def test_redis_keeps_its_log_and_throws_nothing_out(compose: Compose) -> None:
    command = compose.services["redis"]["command"]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert "--aclfile /run/secrets/redis-users.acl" in command
