"""The facts cache: by tenant, for a few seconds, and bounded."""

from types import SimpleNamespace

import pytest

from common.db.models import Upload
from gateway.service import facts as module
from gateway.service.facts import FactsCache


def upload(upload_id: str, tenant: str = "t", size: int = 10) -> Upload:
    return Upload(id=upload_id, tenant=tenant, size=size, chunk_size=4)


def test_facts_are_remembered_with_their_plan() -> None:
    cache = FactsCache()
    cache.put(upload("a"))
    found = cache.get("t", "a")
    assert found is not None
    assert list(found.plan.segments()) == [(0, 4), (4, 4), (8, 2)]


def test_facts_belong_to_one_tenant() -> None:
    cache = FactsCache()
    cache.put(upload("a"))
    assert cache.get("other", "a") is None


def test_facts_are_forgotten_when_told() -> None:
    cache = FactsCache()
    cache.put(upload("a"))
    cache.forget("t", "a")
    cache.forget("t", "never there")
    assert cache.get("t", "a") is None


def test_facts_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    cache = FactsCache()
    cache.put(upload("a"))
    now[0] += module.TTL - 0.1
    assert cache.get("t", "a") is not None
    now[0] += 0.2
    assert cache.get("t", "a") is None


def test_the_least_used_facts_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    cache = FactsCache()
    for name in ("a", "b"):
        cache.put(upload(name))
    cache.get("t", "a")
    cache.put(upload("c"))
    assert [cache.get("t", name) is not None for name in ("a", "b", "c")] == [True, False, True]
