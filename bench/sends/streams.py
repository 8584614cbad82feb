"""One large file in one request to our surfaces for streams: by tus, and by the IETF draft. Times in seconds."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.driver import Connection, expect
from bench.sends.native import finished
from bench.sends.tus import BODY, METADATA, VERSION

NAME = 'Content-Disposition: attachment; filename="bench.bin"\r\n'
INTEROP = "Upload-Draft-Interop-Version: 8\r\n"
# protocol -> (where to create, fields of the create, fields of the append)
PROTOCOLS = {
    "tus": ("/tus/", f"{VERSION}Upload-Metadata: {METADATA}\r\n", f"{VERSION}{BODY}Upload-Offset: 0\r\n"),
    "draft": (
        "/resumable/",
        f"{INTEROP}Upload-Complete: ?0\r\n{NAME}",
        f"{INTEROP}Content-Type: application/partial-upload\r\nUpload-Offset: 0\r\nUpload-Complete: ?1\r\n",
    ),
}


def big(url: str, path: str, protocol: str) -> dict[str, float]:
    """Create, append everything in one request, wait until the file can be read; then delete it.

    `receive` is for the append alone, `ready` counts from the first request.
    """
    address, create, append = PROTOCOLS[protocol]
    size, control = Path(path).stat().st_size, Connection(url)
    began = time.perf_counter()
    answer = expect(control.ask("POST", address, b"", f"Upload-Length: {size}\r\n{create}"), "POST", address)
    where = urlsplit(answer.headers["location"]).path
    made = time.perf_counter()
    with open(path, "rb") as opened:  # noqa: PTH123 - a number is what is wanted
        control.send_file("PATCH", where, opened.fileno(), 0, size, append)
    received = time.perf_counter()
    upload = control.json("GET", f"/v1/uploads/{where.rpartition('/')[2]}")
    job = finished(control, control.json("GET", f"/v1/jobs/{upload['job_id']}?wait=60"))
    ready = time.perf_counter()
    control.request("DELETE", f"/v1/files/{job['file_id']}")
    control.close()
    return {"receive": received - made, "ready": ready - began}
