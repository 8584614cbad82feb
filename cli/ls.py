"""`sluice ls`: list files."""

from itertools import islice
from typing import Annotated

import typer

from cli.output import Rows, human_size, local_time, print_json
from cli.server import DEFAULT_URL, Url, connect

PAGE = 100  # files asked for at once


def ls(
    filename: Annotated[str | None, typer.Option(help="Only files with this name.")] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only files with this tag.")] = None,
    content_type: Annotated[str | None, typer.Option(help="Only files of this media type.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many files.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per file.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List files, newest first."""
    filters = {"filename": filename, "tag": tag, "content_type": content_type}
    rows = Rows("id", "size", "type", "created", "name")
    with connect(url) as client:
        for file in islice(client.list_files(limit=min(limit, PAGE), filters=filters), limit):
            if json:
                print_json(file.raw)
                continue
            kind = file.detected_type or file.content_type or "-"
            rows.add(file.id, human_size(file.size), kind, local_time(file.created_at), file.filename)
    if not json:
        rows.print()
