"""The `sluice` command: the list of commands, and how errors reach the person at the terminal."""

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from cli.lazy import add_lazily

COMMANDS = (
    ("up", "cli.up:up", "Run the whole service in the foreground until Ctrl-C."),
    ("put", "cli.put:put", "Upload files; interrupted uploads go on where they stopped."),
    ("get", "cli.get:get", "Download a file and check it against its SHA-256."),
    ("ls", "cli.ls:ls", "List files, newest first."),
    ("job", "cli.job:job", "Show a job, or wait for it."),
    ("jobs", "cli.jobs:jobs", "List jobs, or drive failed ones again."),
    ("rm", "cli.rm:rm", "Remove files for good."),
    ("gateway", "cli.processes:gateway", "Run one HTTP gateway."),
    ("worker", "cli.processes:worker", "Run one worker."),
    ("migrate", "cli.processes:migrate", "Bring the database schema up to date."),
    ("doctor", "cli.doctor.command:doctor", "Look at all that the service needs, and say what is wrong."),
    ("fsck", "cli.fsck:fsck", "Compare the storage with the database."),
)

app = typer.Typer(name="sluice", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def _show_version(asked: bool) -> None:
    if not asked:
        return
    try:
        number = version("sluice")
    except PackageNotFoundError:
        number = "(run from a folder, not installed)"
    typer.echo(f"sluice {number}")
    raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Sluice: chunks in, verified files out."""


for _name, _target, _summary in COMMANDS:
    add_lazily(app, _name, _target, _summary)


def main() -> None:
    """Entry point. Exit status: 0 done, 1 failed (one line on stderr), 2 wrong usage, 130 ended by Ctrl-C."""
    try:
        app(prog_name="sluice")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except _expected() as error:
        from cli.advice import advice

        typer.echo(f"sluice: {_line(error)}{advice(error)}", err=True)
        sys.exit(1)


def _expected() -> tuple[type[Exception], ...]:
    """Errors that say what is wrong by themselves; anything else is a bug and keeps its traceback. Evaluated only when
    something was raised, so it costs a good run no import."""
    from client.errors import SluiceClientError
    from common.errors import SluiceError

    return (SluiceClientError, SluiceError, OSError)


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
