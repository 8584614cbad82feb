"""A client written from the draft, on the gateway that the tests of this folder's parent share."""

import pytest

from tests.integration.gateway.ietf.client import Resumable
from tests.integration.gateway.rig import Gateway


@pytest.fixture
def client(gateway: Gateway) -> Resumable:
    """Of the newest interop version."""
    return Resumable(gateway.http)


@pytest.fixture
def own_client(own_gateway: Gateway) -> Resumable:
    """On a gateway of the test's own, without a worker: what is complete stays in verification."""
    return Resumable(own_gateway.http)
