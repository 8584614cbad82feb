"""`sluice jobs`: list jobs; `sluice jobs retry ID`: drive dead letters again."""

from itertools import islice
from typing import Annotated

import typer

from cli.advice import advice
from cli.output import Rows, complain, local_time, plain, print_json
from cli.server import DEFAULT_URL, Url, connect
from client.errors import SluiceClientError
from common.states import JobKind, JobState

PAGE = 100  # jobs asked for at once


def jobs(
    action: Annotated[str | None, typer.Argument(help="`retry`, then ids; nothing lists.", metavar="[retry]")] = None,
    job_ids: Annotated[list[str] | None, typer.Argument(help="Ids of failed jobs.", metavar="[JOB_ID...]")] = None,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    kind: Annotated[JobKind | None, typer.Option(help="Only jobs of this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many jobs.")] = 50,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per job.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List jobs, newest first; or `retry` those that failed with attempts_exhausted."""
    if action is not None:
        if action != "retry" or not job_ids:
            raise typer.BadParameter("use `sluice jobs` to list, `sluice jobs retry JOB_ID...` to drive again")
        retry(job_ids, url)
        return
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


def retry(job_ids: list[str], url: str) -> None:
    """Drive dead letters again. Exit status 1 if any could not be; the others are tried all the same."""
    failed = False
    with connect(url) as client:
        for job_id in job_ids:
            try:
                job = client.retry_job(job_id)
            except SluiceClientError as error:
                failed = True
                complain(f"{job_id}: {error}{advice(error)}")
            else:
                typer.echo(plain(f"{job.id} is {job.state} again"))
    if failed:
        raise typer.Exit(1)
