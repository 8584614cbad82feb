"""What the clients of this folder meet: no two requests in a row go to the same gateway."""

import httpx
import pytest

from tests.clients.fleet import Fleet

pytestmark = pytest.mark.long_form


def test_requests_go_to_the_gateways_in_turn(fleet: Fleet) -> None:
    before = [gateway.metric("sluice_http_requests_total") for gateway in fleet.gateways]
    for _ in fleet.gateways * 3:
        assert httpx.get(f"{fleet.url}/v1/limits", trust_env=False).status_code == 200
    after = [gateway.metric("sluice_http_requests_total") for gateway in fleet.gateways]
    # one of them is the request for the metrics itself
    assert [now - then - 1 for then, now in zip(before, after, strict=True)] == [3.0] * len(fleet.gateways)
