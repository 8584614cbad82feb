"""`sluice get`: download a file."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.output import complain, human_size, plain
from cli.progress import watching
from cli.server import DEFAULT_URL, Url, connect
from client.download import DownloadResult
from client.errors import DownloadError
from client.sync import Client

NAME_BYTES = 255  # the longest name common file systems take


def get(
    file_id: Annotated[str, typer.Argument(help="Id of the file.", metavar="FILE_ID")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; its own name here without it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Download a file, whole and checked against its SHA-256, or not at all."""
    try:
        with connect(url) as client:
            result = _fetch(client, file_id, output, force=force)
    except KeyboardInterrupt:
        complain(f"{file_id}: interrupted; nothing was written")
        raise
    checked = "sha-256 ok" if result.verified else "not checked: the server announced no SHA-256"
    typer.echo(plain(f"{result.path}  {human_size(result.size)}  {result.sha256}  {checked}"))


def _fetch(client: Client, file_id: str, output: Path | None, *, force: bool) -> DownloadResult:
    file = client.get_file(file_id)
    target = output or Path()
    if target.is_dir():
        target /= safe_name(file.filename, file_id)
    if not force and os.path.lexists(target) and not target.is_dir():
        raise DownloadError(f"{target} exists already; it was left as it is, --force overwrites it")
    with watching(target.name, file.size) as watch:
        return client.download(file_id, target, overwrite=force, progress=watch.progress, on_retry=watch.on_retry)


def safe_name(claimed: str, fallback: str) -> str:
    """A plain name for the current folder from a name a stranger chose: the last part of a path, without control
    characters, never hidden and never empty."""
    last = claimed.replace("\\", "/").rsplit("/", maxsplit=1)[-1]
    visible = "".join(c for c in last if c.isprintable()).strip().lstrip(".").strip()
    name = visible.encode("utf-8", "ignore")[:NAME_BYTES].decode("utf-8", "ignore")
    return name or "".join(c for c in fallback if c.isalnum() or c == "-") or "download"
