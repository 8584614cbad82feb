"""A stand-in for the gateway's native surface, so that the client can be tested against faults a real gateway does not
produce on request. It keeps everything in memory and is no reference: the e2e suite runs the same client against the
real thing."""

import base64
import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.unit.client.faults import Abort, Fault, Handler, fail, problem

CHUNK_SIZE = 64 * 1024  # bytes; small, so that tests have many chunks


@dataclass
class StoredUpload:
    """One upload: what was asked for and the chunks that are there."""

    id: str
    request: dict[str, Any]
    chunk_size: int
    state: str = "open"
    chunks: dict[int, bytes] = field(default_factory=dict)
    job_id: str | None = None
    file_id: str | None = None

    @property
    def chunk_count(self) -> int:
        return -(-int(self.request["size"]) // self.chunk_size)

    def missing(self) -> list[list[int]]:
        ranges: list[list[int]] = []
        for index in range(self.chunk_count):
            if index in self.chunks:
                continue
            if ranges and ranges[-1][1] == index - 1:
                ranges[-1][1] = index
            else:
                ranges.append([index, index])
        return ranges

    def document(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "state": self.state,
            "filename": self.request["filename"],
            "size": self.request["size"],
            "chunk_size": self.chunk_size,
            "chunk_count": self.chunk_count,
            "received_bytes": sum(map(len, self.chunks.values())),
            "missing": self.missing(),
            "expires_at": "2031-01-01T00:00:00Z",
            "transport": self.request.get("transport", "gateway"),
            "job_id": self.job_id,
            "file_id": self.file_id,
            "a_member_of_a_later_version": True,
        }


class StandIn:
    """The server's memory, its faults, and a log of the requests it saw."""

    def __init__(self) -> None:
        self.url = ""
        self.uploads: dict[str, StoredUpload] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.keys: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.ranges: list[str | None] = []
        self.with_digest = 0
        self.patches: list[dict[str, Any]] = []
        self.damaged: list[list[int]] = []
        self.links_until = "2031-01-01T00:00:00Z"
        self.to_the_store: list[dict[str, str]] = []

    def fault(self, method: str, ending: str, kind: str, **more: Any) -> Fault:
        """Add a fault; the first that matches a request takes it."""
        self.faults.append(Fault(method, ending, kind, **more))
        return self.faults[-1]

    def count(self, start: str) -> int:
        """How many requests began with this `METHOD /path`."""
        return sum(line.startswith(start) for line in self.seen)

    def add_file(self, content: bytes, filename: str) -> str:
        file_id = str(uuid.uuid4())
        self.contents[file_id] = content
        self.files[file_id] = {
            "id": file_id,
            "filename": filename,
            "size": len(content),
            "digests": {"sha-256": hashlib.sha256(content).hexdigest()},
            "tags": {},
            "metadata": {},
            "state": "ready",
            "created_at": "2030-01-02T03:04:05Z",
        }
        return file_id

    async def limits(self, request: Request) -> Response:
        return JSONResponse({"max_file_size": 10**12, "max_chunks": 10_000, "digest_algorithms": ["sha-256"]})

    async def create(self, request: Request) -> Response:
        key = request.headers.get("idempotency-key", "")
        if key in self.keys:
            return JSONResponse(self.uploads[self.keys[key]].document(), 201)
        asked = await request.json()
        upload = StoredUpload(str(uuid.uuid4()), asked, asked.get("chunk_size", CHUNK_SIZE))
        self.uploads[upload.id] = upload
        self.keys[key] = upload.id
        return JSONResponse(upload.document(), 201)

    async def upload(self, request: Request) -> Response:
        upload = self.uploads.get(request.path_params["id"])
        if upload is None:
            return problem(404, "upload_not_found")
        if request.method == "DELETE":
            upload.state = "aborted"
            return Response(status_code=204)
        return JSONResponse(upload.document())

    async def chunk(self, request: Request) -> Response:
        upload = self.uploads[request.path_params["id"]]
        index = request.path_params["index"]
        body = await request.body()
        if upload.state != "open":
            return problem(409, "upload_not_open")
        announced = request.headers.get("content-digest")
        self.with_digest += announced is not None
        if announced is not None and announced != content_digest(body):
            return problem(422, "digest_mismatch")
        if upload.chunks.setdefault(index, body) != body:
            return problem(409, "chunk_conflict")
        return JSONResponse({"index": index, "size": len(body), "digests": {"crc64nvme": "0" * 16}})

    async def parts(self, request: Request) -> Response:
        """Links for the next two missing chunks, to a store that is this server under another path."""
        upload = self.uploads[request.path_params["id"]]
        first = int(request.query_params.get("cursor", "0"))
        missing = [i for start, end in upload.missing() for i in range(start, end + 1) if i >= first]
        size = int(upload.request["size"])
        items = [
            {
                "index": index,
                "offset": index * upload.chunk_size,
                "size": min(upload.chunk_size, size - index * upload.chunk_size),
                "method": "PUT",
                "url": f"{self.url}/store/{upload.id}/{index}",
                "headers": {"X-Signed": "yes"},
            }
            for index in missing[:2]
        ]
        return JSONResponse({"items": items, "expires_at": self.links_until, "next_cursor": None})

    async def store(self, request: Request) -> Response:
        """As a store answers: XML, or nothing."""
        self.to_the_store.append(dict(request.headers))
        body = await request.body()
        announced = request.headers.get("content-md5")
        if announced not in (None, base64.b64encode(hashlib.md5(body).digest()).decode()):
            return Response("<Error><Code>BadDigest</Code></Error>", 400)
        self.uploads[request.path_params["id"]].chunks[request.path_params["index"]] = body
        return Response(headers={"ETag": '"0"'})

    async def finalize(self, request: Request) -> Response:
        upload = self.uploads[request.path_params["id"]]
        if upload.state == "open":
            if missing := upload.missing():
                return problem(409, "chunks_missing", missing=missing)
            upload.state = "finalizing"
            upload.job_id = str(uuid.uuid4())
            digests = (await request.json()).get("digests", {})
            self.jobs[upload.job_id] = {"id": upload.job_id, "kind": "finalize", "state": "queued", "attempts": 0}
            self.jobs[upload.job_id] |= {"upload_id": upload.id, "declared": digests}
        return JSONResponse(self.jobs[str(upload.job_id)], 202)

    async def job(self, request: Request) -> Response:
        job = self.jobs[request.path_params["id"]]
        if job["state"] == "queued" and "wait" in request.query_params:
            self._work(job)
        return JSONResponse(job)

    def _work(self, job: dict[str, Any]) -> None:
        upload = self.uploads[job["upload_id"]]
        content = b"".join(upload.chunks[index] for index in range(upload.chunk_count))
        if self.damaged:
            for index in self.damaged.pop(0):
                del upload.chunks[index]
            upload.state, job["state"] = "open", "failed"
            job["error"] = {"code": "chunks_damaged", "detail": "some chunks must be sent again"}
            return
        declared = job["declared"].get("sha-256")
        if declared not in (None, hashlib.sha256(content).hexdigest()):
            upload.state, job["state"] = "failed", "failed"
            job["error"] = {"code": "file_digest_mismatch", "detail": "the whole is not what was declared"}
            return
        file_id = self.add_file(content, upload.request["filename"])
        upload.state, upload.file_id = "complete", file_id
        job |= {"state": "succeeded", "file_id": file_id}

    async def retry_job(self, request: Request) -> Response:
        job = self.jobs[request.path_params["id"]]
        job["state"] = "queued"
        return JSONResponse(job, 202)

    async def list_files(self, request: Request) -> Response:
        """Pages of two."""
        names = sorted(self.files, key=lambda one: str(self.files[one]["filename"]))
        start = int(request.query_params.get("cursor", "0"))
        more = str(start + 2) if start + 2 < len(names) else None
        return JSONResponse({"items": [self.files[one] for one in names[start : start + 2]], "next_cursor": more})

    async def list_jobs(self, request: Request) -> Response:
        wanted = request.query_params.get("state")
        items = [job for job in self.jobs.values() if wanted in (None, job["state"])]
        return JSONResponse({"items": items, "next_cursor": None})

    async def post_file(self, request: Request) -> Response:
        content = await request.body()
        file_id = self.add_file(content, request.headers["content-disposition"])
        state, status = ("succeeded", 200) if "wait=" in request.headers.get("prefer", "") else ("queued", 202)
        return JSONResponse({"id": str(uuid.uuid4()), "state": state, "file_id": file_id}, status)

    async def file(self, request: Request) -> Response:
        file = self.files.get(request.path_params["id"])
        if file is None:
            return problem(404, "file_not_found")
        if request.method == "DELETE":
            del self.files[file["id"]]
            return Response(status_code=204)
        if request.method == "PATCH":
            self.patches.append(await request.json())
            file |= self.patches[-1]
        return JSONResponse(file)

    async def content(self, request: Request) -> Response:
        if request.path_params["id"] not in self.files:
            return problem(404, "file_not_found")
        content = self.contents[request.path_params["id"]]
        sha256 = self.files[request.path_params["id"]]["digests"]["sha-256"]
        headers = {
            "etag": f'"{sha256}"',
            "repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
        }
        asked = request.headers.get("range")
        self.ranges.append(asked)
        if asked is None:
            return Response(content, headers=headers)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        part = content[int(first) : int(last) + 1 if last else None]
        headers["content-range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
        return Response(part, 206, headers)

    def app(self, abort: Abort) -> Starlette:
        """The application; `abort` resets the connection of a request."""

        def route(path: str, handler: Handler, *methods: str) -> Route:
            return Route(path, self._with_faults(handler, abort), methods=list(methods))

        return Starlette(
            routes=[
                route("/v1/limits", self.limits, "GET"),
                route("/v1/uploads", self.create, "POST"),
                route("/v1/uploads/{id}", self.upload, "GET", "DELETE"),
                route("/v1/uploads/{id}/chunks/{index:int}", self.chunk, "PUT"),
                route("/v1/uploads/{id}/parts", self.parts, "GET"),
                route("/store/{id}/{index:int}", self.store, "PUT"),
                route("/v1/uploads/{id}/finalize", self.finalize, "POST"),
                route("/v1/jobs", self.list_jobs, "GET"),
                route("/v1/jobs/{id}", self.job, "GET"),
                route("/v1/jobs/{id}/retry", self.retry_job, "POST"),
                route("/v1/files", self.list_files, "GET"),
                route("/v1/files", self.post_file, "POST"),
                route("/v1/files/{id}", self.file, "GET", "PATCH", "DELETE"),
                route("/v1/files/{id}/content", self.content, "GET"),
            ]
        )

    def _with_faults(self, handler: Handler, abort: Abort) -> Handler:
        async def answer(request: Request) -> Response:
            self.seen.append(f"{request.method} {request.url.path}")
            fault = next((one for one in self.faults if one.takes(request)), None)
            try:
                return await (handler(request) if fault is None else fail(fault, request, handler, abort))
            except ClientDisconnect:
                return Response(status_code=400)

        return answer


def content_digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
