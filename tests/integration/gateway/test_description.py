"""What the gateway says about itself: limits, probes, metrics, the OpenAPI document."""

from typing import Any

import pytest

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.rig import Gateway

ROUTES = {
    "GET /v1/limits", "POST /v1/uploads", "GET /v1/uploads/{upload_id}", "DELETE /v1/uploads/{upload_id}",
    "PUT /v1/uploads/{upload_id}/chunks/{index}", "POST /v1/uploads/{upload_id}/finalize", "GET /v1/jobs/{job_id}",
    "POST /v1/jobs/{job_id}/retry",
    "GET /v1/jobs", "POST /v1/files", "GET /v1/files", "GET /v1/files/{file_id}", "PATCH /v1/files/{file_id}",
    "GET /v1/uploads/{upload_id}/parts",
    "DELETE /v1/files/{file_id}", "GET /v1/files/{file_id}/content", "HEAD /v1/files/{file_id}/content",
    "GET /livez", "GET /readyz", "GET /startupz", "GET /metrics",
}  # fmt: skip


def test_limits_follow_the_settings(open_gateway: OpenGateway) -> None:
    own = open_gateway(
        MAX_FILE_SIZE="1GiB", CHUNK_SIZE_MIN="1KiB", CHUNK_SIZE_MAX="8MiB", MAX_TAGS="3", ALLOWED_EXTENSIONS="png,csv"
    )
    limits = own.http.get("/v1/limits").json()
    assert limits["max_file_size"] == 2**30
    assert (limits["chunk_size"]["min"], limits["chunk_size"]["max"]) == (1024, 8 * 2**20)
    assert (limits["max_tags"], limits["allowed_extensions"]) == (3, ["csv", "png"])
    assert limits["digest_algorithms"] == ["sha-256", "sha-512", "crc32c", "crc64nvme"]
    assert limits["surfaces"] == ["native", "tus", "ietf", "companion"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
def test_probes_of_a_healthy_gateway_are_ok(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_draining_gateway_is_alive_and_not_ready(own_gateway: Gateway) -> None:
    own_gateway.services.leave()
    assert own_gateway.http.get("/readyz").json() == {"status": "unavailable", "reasons": ["draining"]}
    assert own_gateway.http.get("/livez").status_code == 200


def test_metrics_count_requests_refusals_and_bytes(own_gateway: Gateway) -> None:
    own_gateway.send(b"12345")
    own_gateway.http.get("/v1/uploads/x")
    own_gateway.http.get("/nothing")
    route = "/v1/uploads/{upload_id}/chunks/{index}"
    assert own_gateway.metric("sluice_http_requests_total", method="PUT", route=route, status="200") == 1
    assert own_gateway.metric("sluice_http_request_seconds_count", route=route) == 1
    assert own_gateway.metric("sluice_http_requests_total", method="GET", route="unmatched", status="404") == 1
    assert own_gateway.metric("sluice_refused_total", code="upload_not_found") == 1
    assert own_gateway.metric("sluice_received_bytes_total") == 5
    assert own_gateway.metric("sluice_intake_bytes") == 0
    assert own_gateway.http.get("/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.fixture(scope="module")
def document(gateway: Gateway) -> dict[str, Any]:
    """The OpenAPI document."""
    return dict(gateway.http.get("/openapi.json").json())


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_has_every_route_of_the_contract(document: dict[str, Any]) -> None:
    assert set(operations(document)) == ROUTES
    assert len({operation["operationId"] for operation in operations(document).values()}) == len(ROUTES)


def test_every_route_names_its_problems_with_examples(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        assert operation["summary"], name
        if "/v1/" not in name:
            continue
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"422", "503"} <= set(refusals), name
        for status, answer in refusals.items():
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            for code, example in content["examples"].items():
                assert (example["value"]["code"], str(example["value"]["status"])) == (code, status)
                assert f"`{code}`" in answer["description"]


def test_no_answer_is_described_by_the_frameworks_own_error_shape(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in str(document)


def test_every_json_request_body_has_an_example(document: dict[str, Any]) -> None:
    for name in ("UploadCreate", "FinalizeRequest", "FilePatch"):
        assert document["components"]["schemas"][name]["example"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(child) for child in node.values()))
        return set().union(*(references(child) for child in node)) if isinstance(node, list) else set()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
