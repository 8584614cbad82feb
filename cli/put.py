"""`sluice put`: upload files."""

import mimetypes
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import platformdirs
import typer

from cli.advice import advice
from cli.output import complain, human_size, plain, print_json
from cli.progress import watching
from cli.server import DEFAULT_URL, Url
from client.errors import FileChangedError, JobFailedError, SluiceClientError, SluiceConnectionError
from client.options import UploadOptions, UploadResult
from client.state import FileStateStore
from client.sync import Client

STATE_DIR = "SLUICE_STATE_DIR"
STATE_SECONDS = 30 * 24 * 3600.0  # 30 days: what is older is forgotten at the next put


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


def parse_file(text: str) -> Path:
    """The path of a file; whether it is there shows when its turn comes."""
    if not text:
        raise typer.BadParameter("the name of a file cannot be empty")
    path = Path(text)
    if "://" in text and not path.exists():
        raise typer.BadParameter(f"{text!r} is a URL: put takes files; the server is named by --url {text}")
    return path


def put(
    files: Annotated[list[Path], typer.Argument(parser=parse_file, help="Files to upload.", metavar="FILE...")],
    url: Url = DEFAULT_URL,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Connections per file.")] = 4,
    tag: Annotated[
        list[Tag] | None, typer.Option(parser=parse_tag, metavar="KEY=VALUE", help="Tag to set; may be repeated.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="What the files are.")] = None,
    content_type: Annotated[str | None, typer.Option(help="Media type; guessed from the name without it.")] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Send the bytes straight to the store behind the service.")
    ] = False,
    resume: Annotated[bool, typer.Option(help="Go on with interrupted uploads.")] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per file on stdout.")] = False,
) -> None:
    """Upload files.

    An upload that was interrupted goes on where it stopped when the same command is given again, also in a later
    process, as long as the file has not changed. Exit status 1 if any file failed; the others are tried all the same.
    """
    store = FileStateStore(state_folder()) if resume else None
    if store:
        store.prune(STATE_SECONDS)
    options = UploadOptions(
        content_type=content_type,
        description=description,
        tags={one.key: one.value for one in tag or []},
        direct=direct,
        parallel=parallel,
        store=store,
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
    size = path.stat().st_size if path.is_file() else None
    with watching(path.name, size, finishing="verifying", quiet=quiet) as watch:
        chosen = replace(options, content_type=kind, progress=watch.progress, on_retry=watch.on_retry)
        return client.upload_file(path, chosen)


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
    about = "" if reason.startswith(f"{path} ") else f"{path}: "
    complain(f"{about}{reason}{_advice(error, resumable=resumable)}")
    if as_json:
        code = getattr(error, "code", None) or type(error).__name__
        print_json({"path": str(path), "ok": False, "error": {"code": str(code), "detail": reason}})


def _advice(error: Exception, *, resumable: bool) -> str:
    if isinstance(error, SluiceConnectionError):
        again = "the same command goes on where it stopped" if resumable else "give the command again"
        return f"{advice(error)} Once it is, {again}."
    if isinstance(error, JobFailedError | FileChangedError):
        return ". Give the command again to upload it anew."
    return advice(error)
