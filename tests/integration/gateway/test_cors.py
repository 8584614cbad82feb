"""What a page of another origin may do, as a browser asks it (the CORS protocol of the Fetch standard)."""

import pytest

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway

PAGE = "https://app.example.com"
PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "tus-resumable,upload-offset"}


@pytest.fixture
def open_to_the_page(open_gateway: OpenGateway) -> Gateway:
    return open_gateway(CORS_ORIGINS=PAGE)


def test_without_origins_no_page_may_do_anything(gateway: Gateway) -> None:
    answer = gateway.http.get("/v1/limits", headers={"Origin": PAGE})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_page_may_send_every_method_and_field(open_to_the_page: Gateway) -> None:
    answer = open_to_the_page.http.options("/v1/uploads/x/chunks/0", headers={"Origin": PAGE, **PREFLIGHT})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert {"PUT", "PATCH", "HEAD", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert answer.headers["access-control-allow-headers"] == "tus-resumable,upload-offset"


def test_a_page_of_another_origin_may_not(open_to_the_page: Gateway) -> None:
    answer = open_to_the_page.http.options("/v1/uploads", headers={"Origin": "https://evil.example", **PREFLIGHT})
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_may_read_what_upload_clients_need(open_to_the_page: Gateway) -> None:
    answer = open_to_the_page.http.get("/v1/limits", headers={"Origin": PAGE})
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert {"Location", "Upload-Offset", "Tus-Resumable", "Upload-Complete", "ETag", "Repr-Digest"} <= exposed


@pytest.mark.parametrize("path", ["/nothing", "/v1/uploads/x"])
def test_a_page_may_read_refusals_too(open_to_the_page: Gateway, path: str) -> None:
    answer = open_to_the_page.http.get(path, headers={"Origin": PAGE})
    assert answer.status_code == 404
    assert answer.headers["access-control-allow-origin"] == PAGE


def test_a_page_may_read_what_is_refused_before_any_route(open_to_the_page: Gateway) -> None:
    answer = open_to_the_page.http.post("/v1/uploads", content=b"x", headers={"Origin": PAGE, "Content-Encoding": "br"})
    assert answer.status_code == 415
    assert answer.headers["access-control-allow-origin"] == PAGE


def test_every_origin_may_be_let_in(open_gateway: OpenGateway) -> None:
    answer = open_gateway(CORS_ORIGINS="*").http.get("/v1/limits", headers={"Origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
