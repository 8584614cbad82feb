"""How long an upload will be, said in up to two ways."""

import pytest
from starlette.datastructures import Headers

from common.errors import InconsistentLength
from gateway.ietf.lengths import declared_length

SAID = Headers({"upload-length": "10"})


@pytest.mark.parametrize(
    ("headers", "offset", "body", "complete", "length"),
    [
        (Headers(), 0, 5, False, None),
        (Headers(), 0, None, True, None),  # a body that does not say how long it is
        (Headers(), 3, 5, True, 8),
        (SAID, 0, 5, False, 10),
        (SAID, 0, None, True, 10),
        (SAID, 3, 7, True, 10),
        (Headers({"upload-length": "ten"}), 3, 5, True, 8),
    ],
)
def test_the_length_is_what_the_request_says(
    headers: Headers, offset: int, body: int | None, complete: bool, length: int | None
) -> None:
    assert declared_length(headers, offset, body, complete=complete) == length


@pytest.mark.parametrize("body", [6, 8, 0])
def test_two_lengths_must_be_the_same(body: int) -> None:
    with pytest.raises(InconsistentLength):
        declared_length(SAID, 3, body, complete=True)
