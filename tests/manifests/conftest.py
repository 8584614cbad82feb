"""The overlays under test, as they are committed in rendered form."""

from functools import cache

import pytest

from deploy.k8s.render import overlays
from tests.manifests.objects import Manifests, rendered
from tests.manifests.redis_server import start_redis

__all__ = ["start_redis"]


@pytest.fixture(params=overlays())
def manifests(request: pytest.FixtureRequest) -> Manifests:
    """Each overlay in turn. Nobody changes them: controls work on copies (`Manifests.but`)."""
    return _rendered(request.param)


@pytest.fixture
def dev() -> Manifests:
    return _rendered("dev")


@pytest.fixture
def production_s3() -> Manifests:
    return _rendered("production-s3")


@pytest.fixture
def production_rwx() -> Manifests:
    return _rendered("production-rwx")


_rendered = cache(rendered)
