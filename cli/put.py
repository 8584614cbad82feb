"""`sluice put`: upload files."""

import mimetypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import platformdirs
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.output import complain, human_size, plain, print_json
from cli.server import DEFAULT_URL, Url
from client.errors import FileChangedError, JobFailedError, SluiceClientError, SluiceConnectionError
from client.options import ProgressCallback, UploadOptions, UploadResult
from client.state import FileStateStore
from client.sync import Client

STATE_DIR = "SLUICE_STATE_DIR"


@dataclass
class Tag:
    """One `key=value`."""

    key: str
    value: str


def parse_tag(text: str) -> Tag:
    """`key=value`; the value may be empty and may hold further equals signs."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r} is not of the form key=value")
    return Tag(key, value)


def put(
    files: Annotated[list[Path], typer.Argument(help="Files to upload.", metavar="FILE...")],
    url: Url = DEFAULT_URL,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Connections per file.")] = 4,
    tag: Annotated[
        list[Tag] | None, typer.Option(parser=parse_tag, metavar="KEY=VALUE", help="Tag to set; may be repeated.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What the files are.")] = None,
    content_type: Annotated[str | None, typer.Option(help="Media type; guessed from the name without it.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with interrupted uploads.")] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per file on stdout.")] = False,
) -> None:
    """Upload files.

    An upload that was interrupted goes on where it stopped when the same command is given again, also in a later
    process, as long as the file has not changed. Exit status 1 if any file failed; the others are tried all the same.
    """
    options = UploadOptions(
        content_type=content_type,
        description=description,
        tags={one.key: one.value for one in tag or []},
        parallel=parallel,
        store=FileStateStore(state_folder()) if resume else None,
    )
    failed = 0
    with Client(url) as client:
        for path in files:
            try:
                result = _put_one(client, path, options, quiet=json)
            except KeyboardInterrupt:
                complain(f"{path}: interrupted" + "; the same command goes on where it stopped" * resume)
                raise
            except (SluiceClientError, OSError) as error:
                failed += 1
                _report_failure(path, error, as_json=json, resumable=resume)
            else:
                _report(path, result, as_json=json)
    if failed:
        raise typer.Exit(1)


def state_folder() -> Path:
    """Where interrupted uploads are remembered: SLUICE_STATE_DIR, or the user's state folder."""
    return Path(os.environ.get(STATE_DIR) or platformdirs.user_state_path("sluice", appauthor=False)) / "uploads"


def _put_one(client: Client, path: Path, options: UploadOptions, *, quiet: bool) -> UploadResult:
    kind = options.content_type or mimetypes.guess_type(path.name)[0]
    with _progress_bar(path.name, quiet=quiet) as progress:
        return client.upload_file(path, replace(options, content_type=kind, progress=progress))


@contextmanager
def _progress_bar(name: str, *, quiet: bool) -> Iterator[ProgressCallback | None]:
    """A bar on stderr: bytes, rate, time left. Nothing where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True))
    console = Console(stderr=True)
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(plain(name), total=None)
        started = False

        def move(sent: int, total: int) -> None:
            nonlocal started
            if not started:
                # What was there already is not part of the rate.
                bar.reset(task, total=total, completed=sent)
                started = True
            bar.update(task, completed=sent, description="verifying" if sent >= total else plain(name))

        yield move


def _report(path: Path, result: UploadResult, *, as_json: bool) -> None:
    if as_json:
        print_json({"path": str(path), "ok": True, **_facts(result)})
        return
    already = result.size - result.sent_bytes
    resumed = f"  resumed, {human_size(already)} of {human_size(result.size)} were there" if result.resumed else ""
    line = f"{result.file_id}  sha-256 {result.sha256 or '-'}  {result.job.state}  {path}{resumed}"
    typer.echo(plain(line))


def _facts(result: UploadResult) -> dict[str, Any]:
    return {
        "file_id": result.file_id,
        "upload_id": result.upload_id,
        "job_id": result.job.id,
        "job_state": result.job.state,
        "filename": result.filename,
        "size": result.size,
        "sha256": result.sha256,
        "resumed": result.resumed,
        "sent_bytes": result.sent_bytes,
    }


def _report_failure(path: Path, error: Exception, *, as_json: bool, resumable: bool) -> None:
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    complain(f"{path}: {reason}{_advice(error, resumable=resumable)}")
    if as_json:
        code = getattr(error, "code", None) or type(error).__name__
        print_json({"path": str(path), "ok": False, "error": {"code": str(code), "detail": reason}})


def _advice(error: Exception, *, resumable: bool) -> str:
    if isinstance(error, SluiceConnectionError):
        again = "the same command goes on where it stopped" if resumable else "give the command again"
        return f". Is the gateway running there (--url)? Once it is, {again}."
    if isinstance(error, JobFailedError | FileChangedError):
        return ". Give the command again to upload it anew."
    return ""
