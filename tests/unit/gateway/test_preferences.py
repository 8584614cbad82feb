"""`Prefer: wait` (RFC 7240) as clients write it."""

import pytest
from fastapi import Request, Response

from gateway.api.preferences import applied_wait, preferred_wait


def asked(*values: str) -> int:
    headers = [(b"prefer", value.encode("latin-1")) for value in values]
    return preferred_wait(Request({"type": "http", "headers": headers}))


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["wait=20"], 20),
        (["WAIT = 20"], 20),
        (['wait="20"'], 20),
        (["respond-async, wait=20"], 20),
        (["wait=20; foo=bar, return=minimal"], 20),
        (["respond-async", "wait=5"], 5),
        (["wait=1, wait=2"], 1),
        (["wait=x, wait=2"], 2),
        (["wait=0"], 0),
    ],
)
def test_the_first_wait_that_can_be_read_counts(values: list[str], seconds: int) -> None:
    assert asked(*values) == seconds


@pytest.mark.parametrize(
    "value", ["", "wait", "wait=", "wait=-1", "wait=1.5", "wait=inf", "wait=9999999999", "await=5", "wait=٣", ",;=,"]
)
def test_what_cannot_be_read_is_passed_over(value: str) -> None:
    assert preferred_wait(Request({"type": "http", "headers": [(b"prefer", value.encode())]})) == 0


@pytest.mark.parametrize(("seconds", "said"), [(20, "wait=20"), (1.5, "wait=1"), (0.5, None), (0, None)])
def test_what_was_honoured_is_said_in_whole_seconds(seconds: float, said: str | None) -> None:
    answer = Response()
    applied_wait(answer, seconds)
    assert answer.headers.get("preference-applied") == said
