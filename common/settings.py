"""Settings: frozen groups read from `SLUICE_*` variables. Built by callers with `load_settings`; no instance here.

Every field has a description: `docs/settings.md` is generated from this module and a test holds the two together.
A name that no group knows is an error, so a typing mistake cannot silently mean "the default".
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from redis.asyncio.connection import parse_url

from common.bucket import SCHEME, parse_bucket_url
from common.chunking import GIB, MAX_CHUNKS, MIB
from common.db.address import parse_database_url
from common.errors import SettingsError
from common.quantities import Names, Seconds, Size
from common.settings_addresses import check_networks, check_origins, check_public_url
from common.settings_rules import problems_between

PREFIX = "SLUICE_"
# Variables of the command line client and of the supervisor; the service does not read them.
FOREIGN = frozenset({"SLUICE_URL", "SLUICE_STATE_DIR"})


class Group(BaseSettings):
    """Base of all groups: frozen, prefix `SLUICE_`, values only from what the caller passes."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_prefix=PREFIX)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)  # load_settings has merged environment and file already


class DatabaseSettings(Group):
    database_url: str = Field(
        "sqlite:///data/sluice.db",
        description="`sqlite:///path` or `postgresql://user:password@host:port/name`; the latter may have `?sslmode=` "
        "(as libpq), `&sslrootcert=/file.pem` for `verify-*` (else the system's authorities) and "
        "`?host=/folder/of/the/socket`.",
    )
    database_pool_size: int = Field(5, ge=1, le=100, description="Connections that one process keeps.")
    database_worker_pool_size: int = Field(
        0, ge=0, le=100, description="The same for a worker; 0: `SLUICE_DATABASE_POOL_SIZE`."
    )
    database_pooler: Literal["none", "transaction"] = Field(
        "none", description="`transaction`: what the URL names is a PgBouncer in transaction mode."
    )
    database_timeout: Seconds = Field(
        1.5, gt=0, le=60, description="Longest wait for a connection, a lock or a statement before 503."
    )

    @field_validator("database_url")
    @classmethod
    def _usable(cls, url: str) -> str:
        parse_database_url(url)
        return url

    @property
    def worker_pool_size(self) -> int:
        """Connections that one worker keeps."""
        return self.database_worker_pool_size or self.database_pool_size


class RedisSettings(Group):
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="`redis://`, `rediss://` or `unix:///path?db=0`; the doorbell.",
    )
    redis_timeout: Seconds = Field(
        1.0, gt=0, le=10, description="Budget for ringing the bell; after it the sweep rings."
    )
    redis_queue_prefix: str = Field(
        "sluice", min_length=1, max_length=64, description="Prefix of queue names and keys in Redis."
    )

    @field_validator("redis_url")
    @classmethod
    def _usable(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        parse_url(url)  # raises ValueError for a port or database number that is none
        return url


class StorageSettings(Group):
    storage_url: str = Field(
        "file://data/storage",
        description="Where bytes live: `file:///absolute/path`, `file://relative/path` or `s3://bucket/prefix`.",
    )
    durability: Literal["chunk", "finalize", "none"] = Field(
        "chunk",
        description="When bytes are made safe against power loss: at every chunk, at finalize, or never.",
    )
    verify: Literal["read", "receipts"] = Field(
        "read",
        description="`read`: seal reads all bytes back; `receipts`: trust the combined CRCs of the chunks.",
    )
    hash_ahead: Size = Field(
        64 * MIB,
        ge=0,
        description="With `verify=read`, uploads of this size or more are hashed while they arrive; 0: none. Only on a "
        "volume.",
    )
    min_free_bytes: Size = Field(64 * MIB, ge=0, description="Space that must stay free; below it writes answer 507.")
    storage_threads: int = Field(8, ge=2, le=128, description="Threads of one process for blocking file calls.")
    chunk_lock_wait: Seconds = Field(
        10, ge=0, le=300, description="How long a second writer of the same chunk waits for the first."
    )
    s3_endpoint_url: str = Field("", description="Address of an S3-compatible store; empty: AWS.")
    s3_public_url: str = Field("", description="The store's address as clients see it, for direct uploads.")
    s3_region: str = Field("us-east-1", min_length=1, description="Region that requests are signed for.")
    s3_path_style: bool = Field(False, description="`https://host/bucket/key` in place of `https://bucket.host/key`.")
    s3_max_parts: int = Field(MAX_CHUNKS, ge=1, le=MAX_CHUNKS, description="Most parts of one object; some take 1,000.")
    s3_min_part: Size = Field(5 * MIB, ge=1, description="Smallest part that the store takes, the last one apart.")
    s3_connections: int = Field(
        1024, ge=4, le=10_000, description="Connections of one process to the store; a chunk on its way holds one."
    )
    s3_timeout: Seconds = Field(30, gt=0, le=600, description="A store that is silent for this long has failed.")
    s3_attempts: int = Field(4, ge=1, le=20, description="Tries of one request that the store may ask to slow down.")
    s3_held_chunk: Size = Field(
        256 * 1024,
        ge=0,
        le=16 * MIB,
        description="Chunks up to this size are held whole and tried again; larger ones stream through. Also what an "
        "append gathers before it is stored, where there are not hundreds.",
    )
    s3_buffer_memory: Size = Field(
        32 * MIB,
        ge=8 * MIB,
        description="Bytes that one process holds of bodies without a length: S3 wants it before the first byte.",
    )
    s3_link_seconds: Seconds = Field(
        3600, gt=0, le=7 * 24 * 3600, description="How long a link for a direct chunk is good."
    )
    s3_companion_direct: bool = Field(
        True,
        description="Uppy's S3 plugin sends parts to the store where that can be (`docs/clients.md`); "
        "`false`: all parts to the gateway.",
    )

    @field_validator("storage_url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if url.startswith(SCHEME):
            parse_bucket_url(url)
        elif not url.startswith("file://") or url == "file://":
            raise ValueError("must start with file:// or s3://")
        return url

    @field_validator("s3_endpoint_url", "s3_public_url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None):
            raise ValueError("must be http://host:port or https://host:port, without a user or password")
        return url


class LimitsSettings(Group):
    max_file_size: Size = Field(5 * 1024 * GIB, ge=0, description="Largest file in bytes.")
    chunk_size_min: Size = Field(1, ge=1, description="Smallest chunk size that a client may ask for.")
    chunk_size_max: Size = Field(1 * GIB, ge=MIB, description="Largest chunk size that a client may ask for.")
    max_chunks: int = Field(MAX_CHUNKS, ge=1, le=MAX_CHUNKS, description="Most chunks of one upload.")
    max_metadata_bytes: Size = Field(
        16 * 1024,
        ge=0,
        description="Largest `metadata` as JSON text; the same bound holds for all tags together.",
    )
    max_tags: int = Field(50, ge=0, le=1000, description="Most tags of one file.")
    max_form_files: int = Field(100, ge=1, le=10_000, description="Most files in one multipart request.")
    allowed_extensions: Names = Field(
        (), description="Comma-separated extensions that are taken, as in `csv,pdf,png`; empty: all."
    )
    upload_ttl: Seconds = Field(24 * 3600, gt=0, description="An upload without new bytes for this long expires.")
    retention: Seconds = Field(
        7 * 24 * 3600,
        gt=0,
        description="How long ended uploads and jobs stay visible before their rows are removed.",
    )


class HttpSettings(Group):
    body_idle_timeout: Seconds = Field(30, gt=0, description="A body without a byte for this long ends the request.")
    body_min_rate: Size = Field(1024, ge=0, description="Bytes per second, over 30 s, below which a body is ended.")
    header_timeout: Seconds = Field(30, gt=0, description="A request head must be complete after this long.")
    max_json_body: Size = Field(1 * MIB, ge=1024, description="Largest JSON request body.")
    intake_buffer: Size = Field(1 * MIB, ge=64 * 1024, description="Bytes gathered before one write to the storage.")
    intake_memory: Size = Field(
        32 * MIB,
        ge=MIB,
        description="Bytes that all bodies of one process hold, about; reads and writes shrink as half of it fills.",
    )
    accel_redirect: str = Field(
        "",
        pattern="^(/[A-Za-z0-9._~-]+)*/?$",
        description="Path of an internal location of the nginx in front that serves the storage's folder, such as "
        "`/.sluice/`: nginx then sends the bytes of files (docs/operations.md). Empty: the gateway does.",
    )
    max_wait: Seconds = Field(60, ge=0, le=600, description="Longest `wait` of a job poll.")
    max_waiting_polls: int = Field(
        4096, ge=0, description="Polls that one process holds at once; above it they are answered at once."
    )
    shutdown_delay: Seconds = Field(
        0,
        ge=0,
        le=300,
        description="After SIGTERM, a gateway is not ready any more but serves everybody for this long, then drains.",
    )
    drain_seconds: Seconds = Field(25, ge=0, description="After that, requests in flight may take this long.")
    max_requests: int = Field(
        4096, ge=1, description="Requests in flight of one process, held polls apart; above it 503."
    )
    public_url: str = Field(
        "",
        description="Address under which clients see this service, with the path where a proxy strips one; "
        "empty: `Location` is a path, or what a trusted proxy says.",
    )
    trusted_proxies: Names = Field(
        (),
        description="Addresses and networks (`10.0.0.0/8`, `unix`) whose `Forwarded` or `X-Forwarded-Proto` and "
        "`X-Forwarded-Host` are believed.",
    )
    cors_origins: Names = Field(
        (),
        description="Origins whose pages may use this service, as in `https://app.example.com`; `*`: all.",
    )

    @field_validator("public_url")
    @classmethod
    def _address(cls, url: str) -> str:
        return check_public_url(url)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return check_networks(names)

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return check_origins(names)


class WorkerSettings(Group):
    worker_queues: Names = Field(("finalize", "metadata"), description="Job kinds that this worker runs.")
    worker_slots: int = Field(
        8,
        ge=1,
        le=1000,
        description="Rings of one kind that one worker answers at once: a job each, or up to 32 jobs of at most 1 MiB.",
    )
    worker_drain_seconds: Seconds = Field(
        30,
        ge=0,
        description="After SIGTERM, running jobs may take this long; then they go back to the queue.",
    )
    lease_seconds: Seconds = Field(15, gt=0, description="A job whose worker is silent for this long may be taken.")
    heartbeat_seconds: Seconds = Field(5, gt=0, description="How often a worker renews its leases.")
    sweep_seconds: Seconds = Field(5, gt=0, description="How often the sweep looks for what was left behind.")
    max_attempts: int = Field(10, ge=1, le=1000, description="Attempts before a job fails as `attempts_exhausted`.")
    job_timeout: Seconds = Field(300, gt=0, description="Base time for one attempt; large files get more.")
    job_min_rate: Size = Field(
        10 * MIB,
        ge=1,
        description="Bytes per second that an attempt is expected to reach; adds to `job_timeout`.",
    )
    poll_delay: Seconds = Field(
        0.25, gt=0, le=5, description="How often a worker looks at the queue where no wake-up reached it."
    )
    scrub_period: Seconds = Field(
        30 * 24 * 3600, ge=0, description="Every ready file is read again within about this time; 0: never."
    )
    scrub_rate: Size = Field(20 * MIB, ge=1, description="Bytes per second that the scrub of one worker reads.")
    health_host: str = Field("127.0.0.1", description="Address of the worker's health port.")
    health_port: int = Field(8001, ge=0, le=65535, description="Health port of a worker; 0: any free port.")
    health_port_file: str = Field("", description="The worker writes the real number of its health port here.")


class LogSettings(Group):
    log_format: Literal["json", "console"] = Field("json", description="`json` for machines, `console` for people.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")


@dataclass(frozen=True, slots=True)
class Settings:
    """All groups together. Immutable; passed on from the entry points."""

    database: DatabaseSettings
    redis: RedisSettings
    storage: StorageSettings
    limits: LimitsSettings
    http: HttpSettings
    worker: WorkerSettings
    logs: LogSettings


GROUPS: dict[str, type[Group]] = {
    "database": DatabaseSettings,
    "redis": RedisSettings,
    "storage": StorageSettings,
    "limits": LimitsSettings,
    "http": HttpSettings,
    "worker": WorkerSettings,
    "logs": LogSettings,
}


def variable_names() -> list[str]:
    """Every environment variable that the service reads, in the order of the groups."""
    return [PREFIX + field.upper() for group in GROUPS.values() for field in group.model_fields]


def load_settings(env_file: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment; where `env_file` is given, its lines stand behind the environment's.

    Raises SettingsError that names every problem: values out of range, unknown `SLUICE_*` names, an absent file.
    """
    values = _merged(env_file, os.environ if environ is None else environ)
    problems = _unknown(values)
    groups: dict[str, Any] = {}
    for name, group in GROUPS.items():
        given = {
            field: values[PREFIX + field.upper()] for field in group.model_fields if PREFIX + field.upper() in values
        }
        try:
            groups[name] = group.model_validate(given)
        except ValidationError as error:
            problems += [
                f"{PREFIX}{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
                for item in error.errors()
            ]
    if not problems:
        problems = problems_between(Settings(**groups))
    if problems:
        raise SettingsError("; ".join(problems), problems=problems)
    return Settings(**groups)


def _merged(env_file: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    if env_file is not None:
        if not env_file.is_file():
            raise SettingsError(f"{env_file}: no such file.", problems=[f"{env_file}: no such file"])
        values |= {name: value or "" for name, value in dotenv_values(env_file).items()}
    values |= environ
    return {name.upper(): value for name, value in values.items() if name.upper().startswith(PREFIX)}


def _unknown(names: Iterable[str]) -> list[str]:
    known = variable_names()
    bare = [name.removeprefix(PREFIX) for name in known]  # with the prefix, every name is close to every other
    problems = []
    for name in sorted(set(names) - set(known) - FOREIGN):
        near = get_close_matches(name.removeprefix(PREFIX), bare, n=1)
        hint = f"did you mean {PREFIX}{near[0]}?" if near else "see docs/settings.md"
        problems.append(f"{name}: unknown setting; {hint}")
    return problems
