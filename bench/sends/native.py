"""Our own surface: chunks by `PUT`, small files by one `POST`, jobs by polling. Times in seconds, sizes in bytes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from bench.driver import Connection, pieces, send_pieces, share

TRIES, PAUSE = 50, 0.1  # of a request that is answered 503, and seconds in between


def big(url: str, path: str, connections: int, chunk: int, keep: bool = False) -> dict[str, Any]:
    """Create, send all chunks, finalize, wait until the file can be read; then delete it unless it is to be kept.

    `receive` is for the chunks alone, `finalize` for what follows, `ready` counts from the first request.
    """
    file = Path(path)
    size, control = file.stat().st_size, Connection(url)
    began = time.perf_counter()
    upload = control.json("POST", "/v1/uploads", {"filename": file.name, "size": size, "chunk_size": chunk})
    where = f"/v1/uploads/{upload['id']}"
    made = time.perf_counter()
    with file.open("rb") as opened:
        send_pieces(url, opened.fileno(), pieces(where + "/chunks/", size, chunk), connections)
    received = time.perf_counter()
    job = finished(control, control.json("POST", where + "/finalize", {}))
    ready = time.perf_counter()
    if not keep:
        control.request("DELETE", f"/v1/files/{job['file_id']}")
    control.close()
    times = {"receive": received - made, "finalize": ready - received, "ready": ready - began}
    return {**times, "where": f"/v1/files/{job['file_id']}/content"}


def small(url: str, size: int, count: int, connections: int) -> dict[str, float]:
    """So many files, one request each, until the last of them is ready."""
    content, jobs = os.urandom(size), list[str]()
    began = time.perf_counter()
    share(url, range(count), lambda connection, number: jobs.append(_post(connection, content, number)), connections)
    stored = time.perf_counter()
    share(url, jobs, lambda connection, job: finished(connection, {"id": job, "state": "queued"}), connections)
    return {"receive": stored - began, "ready": time.perf_counter() - began}


def burst(url: str, size: int, count: int, connections: int) -> dict[str, Any]:
    """So many files without waiting for them: their jobs."""
    content, jobs = os.urandom(size), list[str]()
    share(url, range(count), lambda connection, number: jobs.append(_post(connection, content, number)), connections)
    return {"jobs": jobs}


def one_by_one(url: str, size: int, count: int, pause: float) -> dict[str, Any]:
    """One file after the other has been finished, with a pause in between: their jobs as they ended."""
    content, connection, jobs = os.urandom(size), Connection(url), []
    for number in range(count):
        job = _post(connection, content, number)
        jobs.append(finished(connection, {"id": job, "state": "queued"}))
        time.sleep(pause)  # an idle service is what is asked, so it has to become idle
    connection.close()
    return {"jobs": jobs}


def _post(connection: Connection, content: bytes, number: int) -> str:
    """The job of one file. A server that asks to come again is asked again, as every client does."""
    head = f'Content-Disposition: attachment; filename="file-{number}"\r\n'
    for _ in range(TRIES):
        answer = connection.ask("POST", "/v1/files", content, head)
        if answer.status != 503:
            break
        time.sleep(PAUSE)
    if answer.status != 202:
        raise RuntimeError(f"POST /v1/files: {answer.status} {answer.body[:300]!r}")
    return answer.body.split(b'"', 4)[3].decode()  # the id stands first; parsing it all would be the driver's load


def look(url: str, jobs: list[str], connections: int) -> dict[str, Any]:
    """All these jobs, once they are finished."""
    found: list[Any] = []
    share(url, jobs, lambda c, job: found.append(finished(c, {"id": job, "state": "queued"})), connections)
    return {"jobs": found}


def finalize(url: str, upload: str) -> dict[str, float]:
    """Finalize alone: from the request until the file is ready; the file is deleted."""
    control = Connection(url)
    began = time.perf_counter()
    job = finished(control, control.json("POST", f"/v1/uploads/{upload}/finalize", {}), 900.0)
    ready = time.perf_counter() - began
    control.request("DELETE", f"/v1/files/{job['file_id']}")
    control.close()
    return {"ready": ready}


def finished(control: Connection, job: Any, seconds: float = 300.0) -> Any:
    """Poll until the job has ended. Raises RuntimeError when it failed or takes longer."""
    until = time.monotonic() + seconds
    while job["state"] in ("queued", "running"):
        if time.monotonic() > until:
            raise RuntimeError(f"the job is still {job['state']} after {seconds:.0f} s")
        job = control.json("GET", f"/v1/jobs/{job['id']}?wait=60")
    if job["state"] != "succeeded":
        raise RuntimeError(f"the job ended as {job}")
    return job
