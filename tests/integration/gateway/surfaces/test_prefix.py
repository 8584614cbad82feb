"""Behind a proxy that strips a path from addresses, every link of every surface has that path in front."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.integration.gateway.ietf.client import Resumable
from tests.integration.gateway.rig import Gateway, serve, until
from tests.integration.gateway.tus.client import Tus

PREFIX = "/up"
PUBLIC = f"https://files.example.com{PREFIX}"
Answers = Iterator[httpx.Response]


@pytest.fixture(scope="module")
def behind(gateway: Gateway) -> Iterator[Gateway]:
    """A second gateway over the same files, with the same worker, and the proxy's address."""
    with serve(gateway.folder, gateway.environment | {"SLUICE_PUBLIC_URL": PUBLIC}) as opened:
        yield opened


def links_in(answer: httpx.Response) -> list[str]:
    """Whatever an answer gives to be called, in its head and in its body."""
    named = [answer.headers[name] for name in ("location", "content-location") if name in answer.headers]
    related = re.findall(r"<([^>]*)>", answer.headers.get("link", ""))
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    return named + related + (list(_of(answer.json())) if is_json and answer.content else [])


def _of(body: Any) -> Iterator[str]:
    if isinstance(body, list):
        for item in body:
            yield from _of(item)
    elif isinstance(body, dict):
        for name, value in body.items():
            if name == "links":
                yield from value.values()
            elif name in ("url", "location"):
                yield value
            elif name in ("items", "files"):
                yield from _of(value)


def inside(link: str) -> str:
    """The path at which the proxy calls us."""
    path = link.removeprefix("https://files.example.com")
    assert path.startswith(f"{PREFIX}/"), link
    return path.removeprefix(PREFIX).replace("{index}", "0")


def native(gateway: Gateway) -> Answers:
    http = gateway.http
    yield http.post("/v1/uploads", json={"filename": "a.bin", "size": 1})
    upload = gateway.send(b"x")
    yield http.get(f"/v1/uploads/{upload['id']}")
    started = gateway.finalize(upload)
    yield started
    job = gateway.ended(started.json()["id"])
    yield http.get(f"/v1/jobs/{job['id']}")
    yield http.get("/v1/jobs?limit=1")
    yield http.post("/v1/files?filename=a.bin", content=b"x")
    yield http.get(f"/v1/uploads/{upload['id']}")
    yield http.get(f"/v1/files/{job['file_id']}")
    yield http.patch(f"/v1/files/{job['file_id']}", json={"description": "d"})
    yield http.get("/v1/files?limit=1")


def tus(gateway: Gateway) -> Answers:
    client = Tus(gateway.http)
    yield (created := client.create(1))
    here = inside(created.headers["location"])
    yield client.patch(here, 0, b"x")
    yield client.head(here)
    part = client.new(1, b"x", Upload_Concat="partial")
    yield client.ask("POST", "/tus", Upload_Concat=f"final;{part}")


def ietf(gateway: Gateway) -> Answers:
    client = Resumable(gateway.http)
    yield client.create(b"x", True)
    yield (created := client.create())
    here = inside(created.headers["location"])
    yield client.patch(here, 0, b"x", True)
    yield client.head(here)


def companion(gateway: Gateway) -> Answers:
    http = gateway.http
    yield (asked := http.get("/s3/params", params={"filename": "a.bin", "type": "text/plain"}))
    key = asked.json()["fields"]["key"]
    yield http.post("/s3/files", data={"key": key}, files={"file": b"x"})
    yield until_found(http, f"/s3/files/{key}")
    upload = http.post("/s3/multipart", json={"filename": "a.bin", "type": "text/plain"}).json()["uploadId"]
    yield (link := http.get(f"/s3/multipart/{upload}/1"))
    yield (sent := http.put(inside(link.json()["url"]), content=b"x"))
    parts = [{"PartNumber": 1, "ETag": sent.headers["etag"]}]
    yield http.post(f"/s3/multipart/{upload}/complete", json={"parts": parts})


def until_found(http: httpx.Client, path: str) -> httpx.Response:
    until(lambda: http.get(path, follow_redirects=False).status_code == 307)
    return http.get(path, follow_redirects=False)


@pytest.mark.parametrize("surface", [native, tus, ietf, companion])
def test_every_link_leads_through_the_proxy(behind: Gateway, surface: Callable[[Gateway], Answers]) -> None:
    for answer in surface(behind):
        assert answer.is_success or answer.is_redirect, answer.text
        links = links_in(answer)
        assert links, answer.request
        assert [link for link in links if is_lost(behind, link)] == []


def is_lost(gateway: Gateway, link: str) -> bool:
    """Whether nothing is there: another method or another moment may be what it takes."""
    return gateway.http.get(inside(link)).status_code == 404
