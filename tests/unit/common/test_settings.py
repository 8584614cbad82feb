"""Settings: described, typed, frozen, and every mistake is named."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from common.errors import SettingsError
from common.settings import GROUPS, Settings, load_settings, variable_names


def load(**variables: str) -> Settings:
    return load_settings(environ={f"SLUICE_{name}": value for name, value in variables.items()})


def problems(**variables: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load(**variables)
    found: list[str] = refused.value.extras["problems"]
    assert refused.value.detail == "; ".join(found)
    return found


def test_every_setting_has_a_description_that_is_a_sentence() -> None:
    for group in GROUPS.values():
        for name, field in group.model_fields.items():
            assert field.description, name
            assert field.description.endswith("."), name


def test_no_name_stands_in_two_groups() -> None:
    assert len(set(variable_names())) == len(variable_names())


def test_without_variables_everything_has_its_default() -> None:
    settings = load()
    assert settings.storage.durability == "chunk"
    assert settings.database.database_url == "sqlite:///data/sluice.db"
    assert settings.limits.max_file_size == 5 * 2**40


def test_values_are_read_with_their_units() -> None:
    settings = load(MAX_FILE_SIZE="2GiB", UPLOAD_TTL="2h", ALLOWED_EXTENSIONS="csv, .PNG", MAX_TAGS="7")
    assert settings.limits.max_file_size == 2 * 2**30
    assert settings.limits.upload_ttl == 7200
    assert settings.limits.allowed_extensions == ("csv", "png")
    assert settings.limits.max_tags == 7


def test_names_may_be_lower_case() -> None:
    assert load_settings(environ={"sluice_log_level": "debug"}).logs.log_level == "debug"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load().logs.__setattr__("log_level", "debug")


def test_the_environment_of_the_shell_counts_only_where_it_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_MAX_TAGS", "9")
    assert load().limits.max_tags == 50
    assert load_settings().limits.max_tags == 9


# --- mistakes -----------------------------------------------------------------------------------------------


def test_an_unknown_name_is_an_error_with_the_nearest_known_one() -> None:
    assert problems(MAX_FILE_SIZ="5") == ["SLUICE_MAX_FILE_SIZ: unknown setting; did you mean SLUICE_MAX_FILE_SIZE?"]


def test_names_of_other_programs_and_of_the_client_are_no_mistake() -> None:
    load_settings(environ={"SLUICE_URL": "x", "PATH": "x", "SLUIC_X": "1"})


def test_all_mistakes_are_named_at_once() -> None:
    found = problems(MAX_TAGS="many", DURABILITY="perhaps", NONSENSE="1", BODY_IDLE_TIMEOUT="0")
    named = {line.partition(":")[0] for line in found}
    assert named == {"SLUICE_MAX_TAGS", "SLUICE_DURABILITY", "SLUICE_NONSENSE", "SLUICE_BODY_IDLE_TIMEOUT"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://x"), ("DATABASE_URL", "sqlite://"), ("STORAGE_URL", "s4://x"), ("STORAGE_URL", "file://"),
        ("MAX_FILE_SIZE", "-1"), ("MAX_CHUNKS", "10001"), ("REDIS_TIMEOUT", "0"), ("MAX_WAIT", "601"),
        ("PUBLIC_URL", "example.com"), ("PUBLIC_URL", "https://h/p?q"), ("PUBLIC_URL", "https://u:p@h"),
        ("TRUSTED_PROXIES", "proxy"), ("TRUSTED_PROXIES", "10.0.0.0/33"), ("CORS_ORIGINS", "example.com"),
        ("CORS_ORIGINS", "https://a.example/"), ("CORS_ORIGINS", "*.example.com"),
        ("LOG_FORMAT", "xml"), ("HEALTH_PORT", "65536"), ("MAX_JSON_BODY", "1MB2"), ("DATABASE_POOL_SIZE", ""),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named(name: str, value: str) -> None:
    [line] = problems(**{name: value})
    assert line.startswith(f"SLUICE_{name}: ")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://u:secret@host:abc/db", "URL"),
        ("postgresql://u:secret@host:0/db", "port"),
        ("postgresql://u:secret@host:65536/db", "port"),
        ("postgresql://u:secret@host/db?sslmode=sometimes", "verify-full"),
        ("postgresql://u:secret@host/db?sslmode=require&sslmode=disable", "sslmode"),
        ("postgresql://u:secret@host/db?connect_timeout=secret", "'connect_timeout'"),
        ("postgresql://u:secret@host/db?ssl=secret", "host, sslmode, sslrootcert"),
        ("sqlite:///a.db?mode=ro", "'mode'"),
    ],
)
def test_a_database_url_that_cannot_work_is_one_line_without_its_password(url: str, named: str) -> None:
    [line] = problems(DATABASE_URL=url)
    assert line.startswith("SLUICE_DATABASE_URL: ")
    assert named in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "url",
    ["postgresql://h/d?sslmode=require", "postgresql://u:@/d?host=/run/pg", "postgresql://u:p%40@[::1]:5433/d"],
)
def test_a_database_url_may_say_how_to_connect(url: str) -> None:
    assert load(DATABASE_URL=url).database.database_url == url


def test_addresses_are_read_in_their_normal_form() -> None:
    http = load(
        PUBLIC_URL="https://files.example.com/up/",
        TRUSTED_PROXIES="10.0.0.0/8, ::1,unix",
        CORS_ORIGINS="https://App.example.com,http://localhost:8080",
    ).http
    assert http.public_url == "https://files.example.com/up"
    assert http.trusted_proxies == ("10.0.0.0/8", "::1", "unix")
    assert http.cors_origins == ("https://app.example.com", "http://localhost:8080")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"LEASE_SECONDS": "8", "HEARTBEAT_SECONDS": "5"}, "SLUICE_HEARTBEAT_SECONDS"),
        ({"CHUNK_SIZE_MIN": "2GiB"}, "SLUICE_CHUNK_SIZE_MIN"),
        ({"WORKER_QUEUES": "finalize,nonsense"}, "SLUICE_WORKER_QUEUES"),
        ({"WORKER_QUEUES": ""}, "SLUICE_WORKER_QUEUES"),
        ({"VERIFY": "receipts", "DURABILITY": "finalize"}, "SLUICE_VERIFY"),
    ],
)
def test_values_that_do_not_go_together_are_named(variables: dict[str, str], named: str) -> None:
    [line] = problems(**variables)
    assert line.startswith(named)


def test_no_mistake_shows_a_value_that_may_be_a_secret() -> None:
    assert "secret" not in str(problems(DATABASE_URL="mysql://user:secret@host/db", STORAGE_URL="secret"))


# --- env file -----------------------------------------------------------------------------------------------


def test_an_env_file_stands_behind_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "sluice.env"
    file.write_text("# comment\nSLUICE_MAX_TAGS=3\nexport SLUICE_LOG_LEVEL=debug\nOTHER=1\n")
    settings = load_settings(file, {"SLUICE_MAX_TAGS": "4"})
    assert (settings.limits.max_tags, settings.logs.log_level) == (4, "debug")


def test_a_mistake_in_an_env_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "sluice.env"
    file.write_text("SLUICE_NONSENSE=3\n")
    with pytest.raises(SettingsError, match="SLUICE_NONSENSE"):
        load_settings(file, {})


def test_an_env_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file") as refused:
        load_settings(tmp_path / "absent", {})
    assert len(refused.value.extras["problems"]) == 1
