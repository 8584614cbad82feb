"""A tus client that says what it is told to say, on the gateway that the tests of this folder's parent share."""

import pytest

from tests.integration.gateway.rig import Gateway
from tests.integration.gateway.tus.client import Tus


@pytest.fixture
def tus(gateway: Gateway) -> Tus:
    return Tus(gateway.http)


@pytest.fixture
def own_tus(own_gateway: Gateway) -> Tus:
    """On a gateway of the test's own, without a worker: what is complete stays in verification."""
    return Tus(own_gateway.http)
