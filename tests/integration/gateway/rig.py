"""A gateway on a loopback port with its database and storage in one folder, and what a test does with it."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from common.errors import all_errors
from common.settings import load_settings
from common.tracing import NO_TRACER, Tracer
from gateway.app import create_app
from gateway.assembly import Services
from gateway.server import DrainingServer
from tests.integration.gateway.wire import Wire

TENANT = "default"
UNKNOWN = "01920000-0000-7000-8000-0123456789ab"  # an id of nothing; fixed, because it names tests
PATIENCE = 30.0  # seconds for anything that ends by itself; two cores may be busy with other tests
Json = dict[str, Any]
REGISTERED = {error.code: error.type_uri for error in all_errors() if error.type_uri}  # problem types of standards


class ThreadedServer(DrainingServer):
    """Signals belong to the main thread, and that is pytest's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """As uvicorn's, but it looks more often whether it shall end: hundreds of tests wait for that."""
        await self.on_tick(0)
        while not self.should_exit:  # noqa: ASYNC110 - set from other threads
            await asyncio.sleep(0.01)


@dataclass
class Gateway:
    """One running gateway. `folder` holds `sluice.db` and `storage/`."""

    folder: Path
    port: int
    http: httpx.Client
    server: ThreadedServer | None = None  # None: a process of its own
    environment: dict[str, str] = field(default_factory=dict)

    # --- what a client does ---------------------------------------------------------------------------------

    def create(self, size: int, **members: Any) -> Json:
        """A new upload."""
        answer = self.http.post("/v1/uploads", json={"filename": "a.bin", "size": size, **members})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def put(self, upload: Json, index: object, data: bytes | Iterable[bytes], **headers: str) -> httpx.Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.put(f"/v1/uploads/{upload['id']}/chunks/{index}", content=data, headers=fields)

    def look(self, upload: Json) -> Json:
        return dict(self.http.get(f"/v1/uploads/{upload['id']}").json())

    def finalize(self, upload: Json, **members: Any) -> httpx.Response:
        return self.http.post(f"/v1/uploads/{upload['id']}/finalize", json=members)

    def send(self, data: bytes, **members: Any) -> Json:
        """An upload all of whose chunks have been taken."""
        upload = self.create(len(data), **members)
        size = upload["chunk_size"]
        for index in range(upload["chunk_count"]):
            answer = self.put(upload, index, data[index * size : (index + 1) * size])
            assert answer.status_code == 200, answer.text
        return upload

    def ended(self, job_id: str) -> Json:
        """The job at its end; needs a worker."""
        job = self.http.get(f"/v1/jobs/{job_id}", params={"wait": PATIENCE}).json()
        assert job["finished_at"], job
        return dict(job)

    def finish(self, upload: Json) -> Json:
        """Finalize and wait; the published file."""
        answer = self.finalize(upload)
        assert answer.status_code in (200, 202), answer.text
        job = self.ended(answer.json()["id"])
        assert job["state"] == "succeeded", job
        return dict(self.http.get(job["links"]["file"]).json())

    def publish(self, data: bytes, **members: Any) -> Json:
        return self.finish(self.send(data, **members))

    def wire(self, timeout: float = 10.0) -> Wire:
        """A bare connection, for what no client library sends."""
        return Wire(self.port, timeout)

    # --- what only the operator sees ------------------------------------------------------------------------

    @property
    def database(self) -> Path:
        return self.folder / "sluice.db"

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement beside the gateway."""
        with closing(sqlite3.connect(self.database, timeout=10)) as connection, connection:
            return connection.execute(statement, values).fetchall()

    def give_away(self, table: str, row_id: str) -> None:
        """Make a row another tenant's, also for what the gateway remembers of it."""
        self.services.chunks._facts.forget("default", row_id)
        self.sql(f"UPDATE {table} SET tenant = 'other' WHERE id = ?", row_id)

    def upload_folder(self, upload_id: str) -> Path:
        return self.folder / "storage" / TENANT / "uploads" / upload_id

    def folders(self) -> set[str]:
        """Names of all upload folders in the storage."""
        root = self.folder / "storage" / TENANT / "uploads"
        return {entry.name for entry in root.iterdir()} if root.is_dir() else set()

    def states(self) -> dict[str, str]:
        """State of every upload by id."""
        return dict(self.sql("SELECT id, state FROM uploads"))

    @property
    def services(self) -> Services:
        """The inside of a gateway that runs in a thread; waits until it has opened everything."""
        assert self.server is not None
        state = self.server.config.app.state  # type: ignore[union-attr]
        until(lambda: hasattr(state, "services"))
        services: Services = state.services
        return services

    def waiting_polls(self) -> int:
        """How many polls wait for the end of a job at this moment."""
        return sum(len(events) for events in list(self.services.waiters._events.values()))

    def metric(self, name: str, **labels: str) -> float:
        """A sample of `/metrics`; 0 where it is not there yet."""
        wanted = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith(wanted + " "):
                return float(line.rpartition(" ")[2])
        return 0.0


def environment_of(folder: Path, redis_url: str, **settings: str) -> dict[str, str]:
    """The `SLUICE_*` variables of a gateway whose truth lies in `folder`."""
    defaults = {
        "DATABASE_URL": f"sqlite:///{folder / 'sluice.db'}",
        "STORAGE_URL": (folder / "storage").as_uri(),
        "REDIS_URL": redis_url,
        "DURABILITY": "none",  # what a power loss takes is tested with the storage
        "MIN_FREE_BYTES": "0",
        "POLL_DELAY": "0.02",
        "HEALTH_PORT": "0",
        "LOG_LEVEL": "warning",
    }
    return {f"SLUICE_{name}": value for name, value in {**defaults, **settings}.items()}


@contextmanager
def serve(folder: Path, environment: dict[str, str], tracer: Tracer = NO_TRACER) -> Iterator[Gateway]:
    """Run a gateway in a thread of this process, so that a test may reach into it."""
    settings = load_settings(environ=environment)
    server = ThreadedServer(create_app(settings, tracer), settings.http)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="gateway")
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
            yield Gateway(folder, port, client, server, environment)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
    assert not thread.is_alive(), "the gateway did not stop"


def until(condition: Any, seconds: float = PATIENCE) -> None:
    """Ask again and again: for what another process does and tells nobody."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.01)


def assert_problem(answer: httpx.Response, status: int, code: str) -> Json:
    """The answer is a whole problem document (RFC 9457) with this status and code; returns its members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: Json = answer.json()
    assert document["type"] in (f"urn:sluice:problem:{code}", REGISTERED.get(code))
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["title"]
    assert len(document["detail"]) > 10
    assert document["request_id"] == answer.headers["x-request-id"]
    return document
