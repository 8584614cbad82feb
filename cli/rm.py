"""`sluice rm`: remove files."""

from typing import Annotated

import typer

from cli.advice import advice
from cli.output import complain, plain
from cli.server import DEFAULT_URL, Url, connect
from client.errors import SluiceClientError


def rm(
    file_ids: Annotated[list[str], typer.Argument(help="Ids of the files.", metavar="FILE_ID...")],
    url: Url = DEFAULT_URL,
) -> None:
    """Remove files for good. Exit status 1 if any could not be removed; the others are tried all the same."""
    failed = False
    with connect(url) as client:
        for file_id in file_ids:
            try:
                client.delete_file(file_id)
            except SluiceClientError as error:
                failed = True
                complain(f"{file_id}: {error}{advice(error)}")
            else:
                typer.echo(plain(f"removed {file_id}"))
    if failed:
        raise typer.Exit(1)
