"""Logs and metrics of one process."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from common.settings import LogSettings
from common.telemetry import Metrics, configure_logging, get_logger


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Undo what `configure_logging` does to the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    noisy = {name: logging.getLogger(name).level for name in ("arq", "uvicorn", "alembic")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in noisy.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def configure(**settings: str) -> None:
    configure_logging(LogSettings.model_validate(settings))


@pytest.mark.usefixtures("restored_logging")
def test_events_are_json_lines_with_their_context(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    structlog.contextvars.bind_contextvars(request_id="r1")
    get_logger("here").info("upload.created", size=5)
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["size"], line["request_id"], line["module"]) == ("upload.created", 5, "r1", "here")
    assert (line["level"], line["timestamp"][-1]) == ("info", "Z")


@pytest.mark.usefixtures("restored_logging")
def test_lines_of_libraries_have_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("some.library").warning("trouble %s", 7)
    logging.getLogger("uvicorn.error").info("chatter")
    [text] = capsys.readouterr().err.splitlines()
    line = json.loads(text)
    assert (line["event"], line["level"], line["logger"]) == ("trouble 7", "warning", "some.library")


@pytest.mark.usefixtures("restored_logging")
def test_events_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_level="warning")
    get_logger("x").info("quiet")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_values_of_variables(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure(log_format=log_format)
    password = str(6**20)  # not in the source, so only the variable could show it
    try:
        _ = 1 / (len(password) - 16)
    except ZeroDivisionError:
        get_logger("x").exception("request.crashed")
    written = capsys.readouterr().err
    assert "ZeroDivisionError" in written
    assert password not in written


def test_every_metric_starts_with_our_name_and_has_a_sentence() -> None:
    for family in Metrics().registry.collect():
        if not family.name.startswith(("process_", "python_")):
            assert family.name.startswith("sluice_"), family.name
            assert family.documentation.endswith("."), family.name


def test_two_processes_in_one_test_have_metrics_of_their_own() -> None:
    one, other = Metrics(), Metrics()
    one.received_bytes.inc(5)
    assert b"sluice_received_bytes_total 5.0" in one.render()
    assert b"sluice_received_bytes_total 0.0" in other.render()
