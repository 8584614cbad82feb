"""`sluice jobs`: list jobs."""

from itertools import islice
from typing import Annotated

import typer

from cli.output import Rows, local_time, print_json
from cli.server import DEFAULT_URL, Url, connect

PAGE = 100  # jobs asked for at once


def jobs(
    state: Annotated[
        str | None, typer.Option(help="Only these: queued, running, succeeded, failed, cancelled.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only these: finalize, metadata.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many jobs.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per job.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List jobs, newest first."""
    rows = Rows("id", "kind", "state", "tries", "created", "error")
    with connect(url) as client:
        for job in islice(client.list_jobs(state=state, kind=kind, limit=min(limit, PAGE)), limit):
            if json:
                print_json(job.raw)
                continue
            error = job.error.code if job.error else "-"
            rows.add(job.id, job.kind, job.state, str(job.attempts), local_time(job.created_at), error)
    if not json:
        rows.print()
