"""The list of commands and how errors reach the terminal."""

import subprocess
import sys

import pytest

from cli.lazy import load
from cli.main import COMMANDS
from client import SluiceClientError
from tests.unit.cli.conftest import Sluice

HEAVY = ("fastapi", "starlette", "sqlalchemy", "arq", "uvicorn", "redis", "pydantic_settings")


def test_help_lists_every_command_with_one_line(sluice: Sluice) -> None:
    out = sluice("--help").out
    assert [name for name, _, summary in COMMANDS if f"  {name}" not in out or summary not in out] == []


@pytest.mark.parametrize("name", [name for name, _, _ in COMMANDS])
def test_every_command_has_help_of_its_own(sluice: Sluice, name: str) -> None:
    outcome = sluice(name, "--help")
    assert outcome.status == 0
    assert f"Usage: sluice {name}" in outcome.out


def test_a_missing_command_is_wrong_usage_with_a_hint(sluice: Sluice) -> None:
    outcome = sluice("pt")
    assert outcome.status == 2
    assert "Did you mean 'put'?" in outcome.err


def test_a_wrong_option_is_wrong_usage(sluice: Sluice) -> None:
    assert sluice("put", "--paralel", "4", "x").status == 2


def test_the_version_is_shown(sluice: Sluice) -> None:
    outcome = sluice("--version")
    assert outcome.status == 0
    assert outcome.out.startswith("sluice ")


@pytest.mark.parametrize("arguments", [["--help"], ["put", "--help"], ["ls", "--help"]])
def test_user_commands_import_nothing_of_the_service(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['sluice', *{arguments!r}]\nfrom cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print('imported', [n for n in {HEAVY!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("imported []\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SluiceClientError("first\nsecond"), "sluice: first second\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), "sluice: x: No such file or directory\n"),
        (OSError("no errno"), "sluice: no errno\n"),
    ],
)
def test_an_expected_error_is_one_line_and_status_1(
    sluice: Sluice, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    fail_with(monkeypatch, error)
    outcome = sluice("ls")
    assert (outcome.status, outcome.out, outcome.err) == (1, "", line)


@pytest.mark.parametrize(
    "arguments", [["ls"], ["jobs"], ["job", "x"], ["get", "x"], ["rm", "x"], ["jobs", "retry", "x"]]
)
def test_every_user_command_says_what_to_do_about_a_service_that_is_down(
    sluice: Sluice, monkeypatch: pytest.MonkeyPatch, free_port: int, arguments: list[str]
) -> None:
    monkeypatch.setattr("cli.server.QUESTION_ATTEMPTS", 1)
    outcome = sluice(*arguments, "--url", f"http://127.0.0.1:{free_port}")
    assert outcome.status == 1
    assert outcome.err.endswith(
        f"no answer from http://127.0.0.1:{free_port} after 1 attempt: connection refused. "
        "Is the gateway running there (--url)?\n"
    )
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "127.0.0.1:8000"])
@pytest.mark.parametrize("command", ["ls", "put"])
def test_a_url_that_is_none_is_one_line(sluice: Sluice, url: str, command: str) -> None:
    outcome = sluice(command, *(["x"] if command == "put" else []), "--url", url)
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert outcome.err.startswith(f"sluice: '{url}' is not")


def test_ctrl_c_ends_with_status_130(sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert sluice("ls").status == 130


def test_a_bug_keeps_its_traceback(sluice: Sluice, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        sluice("ls")


def test_a_command_is_built_from_its_function() -> None:
    assert load("ls", "cli.ls:ls").name == "ls"


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def ls() -> None:
        raise error

    monkeypatch.setattr("cli.ls.ls", ls)
