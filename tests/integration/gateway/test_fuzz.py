"""Any JSON to the routes that take JSON: never a 5xx, always the shape that was promised."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.gateway.rig import Gateway, assert_problem

TEXT = st.text(st.characters(codec=None), max_size=40)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
SIZES = st.integers(0, 10**6) | st.integers() | ANYTHING
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "filename": TEXT | ANYTHING,
    "size": SIZES,
    "content_type": st.sampled_from(["text/plain", "a/b;c=d"]) | ANYTHING,
    "chunk_size": SIZES,
    "digests": st.dictionaries(st.sampled_from(["sha-256", "crc64nvme"]) | TEXT, TEXT, max_size=2) | ANYTHING,
    "description": ANYTHING,
    "metadata": st.dictionaries(TEXT, ANYTHING, max_size=4) | ANYTHING,
    "tags": st.dictionaries(TEXT, TEXT, max_size=4) | st.lists(TEXT, max_size=3) | ANYTHING,
    "\ud800": SCALARS,
}
NEEDED = {"filename": MEMBERS.pop("filename"), "size": MEMBERS.pop("size")}
BODIES = st.fixed_dictionaries(NEEDED, optional=MEMBERS) | ANYTHING
# no client can send blanks at the ends of a field
KEYS = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=3).map(str.strip)
FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def is_promised(answer: httpx.Response, success: int) -> None:
    if answer.status_code == success:
        json.loads(answer.content, parse_constant=pytest.fail)
    else:
        assert 400 <= answer.status_code < 500 or answer.status_code == 507, answer.text
        assert_problem(answer, answer.status_code, answer.json()["code"])


@FUZZ
@given(body=BODIES, key=st.none() | KEYS)
def test_any_json_to_create_is_taken_or_refused(gateway: Gateway, body: object, key: str | None) -> None:
    headers = {b"Content-Type": b"application/json"}
    if key is not None:
        headers[b"Idempotency-Key"] = key.encode("latin-1")
    answer = gateway.http.post("/v1/uploads", content=json.dumps(body), headers=headers)
    is_promised(answer, 201)
    if answer.status_code == 201:
        assert gateway.look(answer.json())["filename"] == answer.json()["filename"]


@FUZZ
@given(body=st.binary(max_size=60))
def test_any_bytes_to_create_are_taken_or_refused(gateway: Gateway, body: bytes) -> None:
    is_promised(gateway.http.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"}), 201)


@FUZZ
@given(body=st.fixed_dictionaries({}, optional={name: MEMBERS[name] for name in ("description", "metadata", "tags")}))
def test_any_json_to_a_file_is_taken_or_refused(gateway: Gateway, patched: str, body: object) -> None:
    headers = {"Content-Type": "application/json"}
    is_promised(gateway.http.patch(patched, content=json.dumps(body), headers=headers), 200)


@pytest.fixture(scope="module")
def patched(gateway: Gateway) -> str:
    """Address of a file that may be changed."""
    return str(gateway.publish(b"x")["links"]["self"])
