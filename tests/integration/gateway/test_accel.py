"""A real nginx in front sends the bytes; what a client sees is what the gateway would have sent."""

import os
from collections.abc import Iterator

import httpx
import pytest

from tests.fixtures.nginx import nginx
from tests.integration.gateway.rig import Gateway, Json, serve

CONTENT = os.urandom(300_000)
PAGE = "https://app.example.com"
SEEN = (
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "repr-digest",
    "x-content-type-options",
)


@pytest.fixture(scope="module")
def accelerated(gateway: Gateway) -> Iterator[Gateway]:
    """A second gateway over the same data, for behind nginx."""
    more = {"SLUICE_ACCEL_REDIRECT": "/.sluice/", "SLUICE_CORS_ORIGINS": PAGE}
    with serve(gateway.folder, gateway.environment | more) as opened:
        yield opened


@pytest.fixture(scope="module")
def fronted(accelerated: Gateway) -> Iterator[httpx.Client]:
    with (
        nginx([accelerated.port], storage=accelerated.folder / "storage") as proxy,
        httpx.Client(base_url=proxy.url, trust_env=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def published(gateway: Gateway) -> Json:
    return gateway.publish(CONTENT)


def seen(answer: httpx.Response) -> dict[str, str | None]:
    return {name: answer.headers.get(name) for name in SEEN}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Range": "bytes=0-9"},
        {"Range": "bytes=299990-"},
        {"Range": "bytes=-5"},
        {"Range": "bytes=0-1,5-9"},
        {"Range": "bytes=5-2"},
        {"Range": "bytes=300000-"},
        {"If-None-Match": '"another"'},
        {"If-Modified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"},
        {"If-Match": '"another"'},
        {"If-Match": "*"},
        {"If-Range": '"another"', "Range": "bytes=0-9"},
        {"If-Unmodified-Since": "Mon, 01 Jan 2001 00:00:00 GMT"},
    ],
)
def test_a_client_sees_no_difference(
    gateway: Gateway, fronted: httpx.Client, published: Json, fields: dict[str, str]
) -> None:
    path = published["links"]["content"]
    ours, theirs = gateway.http.get(path, headers=fields), fronted.get(path, headers=fields)
    assert theirs.status_code == ours.status_code
    if ours.is_success:
        assert (seen(theirs), theirs.content) == (seen(ours), ours.content)
    else:
        assert theirs.json()["code"] == ours.json()["code"]
    assert "x-accel-redirect" not in theirs.headers


@pytest.mark.parametrize("name", ["If-None-Match", "If-Match", "If-Range"])
def test_the_tag_that_was_sent_is_known(fronted: httpx.Client, published: Json, name: str) -> None:
    path = published["links"]["content"]
    tag = fronted.get(path).headers["etag"]
    answer = fronted.get(path, headers={name: tag, "Range": "bytes=1-2"})
    assert answer.status_code == (304 if name == "If-None-Match" else 206)


def test_a_page_of_another_origin_may_read_what_nginx_sends(
    accelerated: Gateway, fronted: httpx.Client, published: Json
) -> None:
    path, page = published["links"]["content"], {"Origin": PAGE}
    allowed, sent = accelerated.http.get(path, headers=page).headers, fronted.get(path, headers=page).headers
    assert sent["access-control-allow-origin"] == PAGE
    for name in ("access-control-expose-headers", "vary"):
        assert sent[name] == allowed[name]


def test_the_bytes_do_not_pass_through_the_gateway(
    accelerated: Gateway, fronted: httpx.Client, published: Json
) -> None:
    def sent() -> str:
        lines = accelerated.http.get("/metrics").text.splitlines()
        return next(line for line in lines if line.startswith("sluice_sent_bytes_total"))

    before = sent()
    assert fronted.get(published["links"]["content"]).content == CONTENT
    assert sent() == before


def test_head_and_empty_files_are_answered(gateway: Gateway, fronted: httpx.Client, published: Json) -> None:
    head = fronted.head(published["links"]["content"])
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))
    assert fronted.get(gateway.publish(b"")["links"]["content"]).content == b""


def test_nobody_reaches_the_folder_from_outside(fronted: httpx.Client, accelerated: Gateway, published: Json) -> None:
    place = accelerated.http.get(published["links"]["content"]).headers["x-accel-redirect"]
    assert place.startswith("/.sluice/default/files/")
    assert fronted.get(place).status_code == 404
    assert fronted.get("/.sluice/../.sluice/" + place.removeprefix("/.sluice/")).status_code == 404


def test_a_file_whose_bytes_are_gone_is_a_clean_error(gateway: Gateway, fronted: httpx.Client) -> None:
    file = gateway.publish(b"lost")
    [stored] = (gateway.folder / "storage").glob(f"*/files/*/{file['id']}")
    stored.unlink()
    answer = fronted.get(file["links"]["content"])
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
