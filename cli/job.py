"""`sluice job`: one job."""

from typing import Annotated

import typer

from cli.output import Rows, local_time, print_json
from cli.server import DEFAULT_URL, Url, connect
from client.errors import JobTimeoutError
from client.models import Job
from client.sync import Client


def job(
    job_id: Annotated[str, typer.Argument(help="Id of the job.", metavar="ID")],
    wait: Annotated[float, typer.Option(min=0, help="Wait up to so many seconds until it is finished.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="The job as a JSON object.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show a job.

    Exit status 1 if it failed, was cancelled, or was waited for and is not finished.
    """
    with connect(url) as client:
        found = _wait(client, job_id, wait) if wait else client.get_job(job_id)
    if json:
        print_json(found.raw)
    else:
        _print(found)
    if (found.finished and not found.succeeded) or (wait and not found.finished):
        raise typer.Exit(1)


def _wait(client: Client, job_id: str, seconds: float) -> Job:
    try:
        return client.wait_for_job(job_id, timeout=seconds)
    except JobTimeoutError as error:
        return error.job


def _print(job: Job) -> None:
    rows = Rows("", "")
    rows.add("id", job.id)
    rows.add("kind", job.kind)
    rows.add("state", job.state)
    rows.add("attempts", str(job.attempts))
    if job.progress.total:
        rows.add("progress", f"{job.progress.done} of {job.progress.total}")
    for name, value in (("upload", job.upload_id), ("file", job.file_id)):
        if value:
            rows.add(name, value)
    if job.error:
        rows.add("error", f"{job.error.detail} ({job.error.code})")
    rows.add("created", local_time(job.created_at))
    rows.add("finished", local_time(job.finished_at))
    rows.print()
