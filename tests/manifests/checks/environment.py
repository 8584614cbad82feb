"""Variables of the pods against the settings classes, both ways. Each check yields its findings."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from common.errors import SettingsError
from common.settings import GROUPS, PREFIX, Settings, StorageSettings, load_settings, variable_names
from tests.manifests.objects import Manifests, Object, Pod

# What a Secret outside of the overlay has; only its form matters here.
BROUGHT = {
    "SLUICE_DATABASE_URL": "postgresql://sluice:secret@database.example:5432/sluice",
    "SLUICE_REDIS_URL": "rediss://sluice:secret@redis.example:6379/0",
}
LAPTOP = ("127.0.0.1", "data/")  # a default with one of these means the machine it runs on


def unknown(manifests: Manifests) -> Iterator[str]:
    """A name that no settings class knows stops the process: every one of ours is known."""
    for pod in manifests.ours():
        for where, container in pod.containers():
            for name in manifests.environment(container):
                if name.startswith(PREFIX) and name not in {*variable_names(), *awaited()}:
                    yield f"{where}: {name}"


def unset(manifests: Manifests) -> Iterator[str]:
    """A setting whose default is made for a laptop is set wherever it is read."""
    for pod in manifests.ours():
        for where, container in pod.containers():
            for name in _needed(container):
                if name not in manifests.environment(container):
                    yield f"{where}: {name} is not set"


def refused(manifests: Manifests) -> Iterator[str]:
    """The process would start with these values."""
    for pod in manifests.ours():
        for where, container in pod.containers():
            try:
                settings(manifests, container)
            except SettingsError as error:
                yield f"{where}: {error.detail}"


def differing(manifests: Manifests) -> Iterator[str]:
    """Gateway and workers mean the same database, queue, storage and limits."""
    shared = [name for group in ("database", "redis", "storage", "limits") for name in _names(group)]
    seen = {pod.component: manifests.environment(pod.main) for pod in manifests.ours() if pod.component != "migrate"}
    for name in shared:
        if len({environment.get(name) for environment in seen.values()}) > 1:
            yield f"{name} differs among {sorted(seen)}"


def settings(manifests: Manifests, container: Object) -> Settings:
    """What the process in this container works with. Raises SettingsError."""
    environment = {
        name: value if value is not None else BROUGHT[name]
        for name, value in manifests.environment(container).items()
        if name.startswith(PREFIX) and name not in awaited()
    }
    return load_settings(environ=environment)


def laptop_defaults() -> set[str]:
    """Settings whose default names this machine or a folder of it."""
    return {
        PREFIX + name.upper()
        for group in GROUPS.values()
        for name, field in group.model_fields.items()
        if isinstance(field.default, str) and any(sign in field.default for sign in LAPTOP)
    }


def awaited() -> set[str]:
    """Names for the storage that this version does not have yet: none, once it takes `s3://`."""
    try:
        StorageSettings(storage_url="s3://bucket/prefix")
    except ValidationError:
        return {"SLUICE_STORAGE_URL", "SLUICE_S3_ENDPOINT_URL", "SLUICE_S3_REGION", "SLUICE_S3_PATH_STYLE"}
    return set()


def command(pod: Pod) -> str:
    """The command of `sluice` that a pod is for."""
    name: str = pod.main["args"][0]
    return name


def _needed(container: Object) -> set[str]:
    command = container["args"][0]
    if command == "migrate":
        return {"SLUICE_DATABASE_URL"}
    return laptop_defaults() - (set() if command == "worker" else {"SLUICE_HEALTH_HOST"})


def _names(group: str) -> list[str]:
    return [PREFIX + name.upper() for name in GROUPS[group].model_fields]
