"""A body that stalls is ended by the same deadline as everywhere; what has come of it is kept."""

import pytest

from tests.integration.gateway.conftest import OpenGateway
from tests.integration.gateway.ietf.client import PARTIAL, Resumable
from tests.integration.gateway.rig import Gateway, assert_problem
from tests.integration.gateway.tus.client import BODY_TYPE, Tus


@pytest.fixture
def impatient(open_gateway: OpenGateway) -> Gateway:
    return open_gateway(BODY_IDLE_TIMEOUT="0.3")


def test_a_tus_append_that_stalls_keeps_what_has_come(impatient: Gateway) -> None:
    tus = Tus(impatient.http)
    url = tus.new(100)
    with impatient.wire() as wire:
        wire.head(f"PATCH {url}", Tus_Resumable="1.0.0", Upload_Offset=0, Content_Type=BODY_TYPE, Content_Length=100)
        wire.send(b"0123456789")
        answer = wire.answer()
    assert_problem(answer, 408, "body_timeout")
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert tus.offset(url) == 10


def test_an_append_of_the_draft_that_stalls_keeps_what_has_come(impatient: Gateway) -> None:
    client = Resumable(impatient.http)
    url = client.new()
    with impatient.wire() as wire:
        wire.head(f"PATCH {url}", Upload_Complete="?1", Upload_Offset=0, Content_Type=PARTIAL, Content_Length=100)
        wire.send(b"0123456789")
        assert_problem(wire.answer(), 408, "body_timeout")
    assert client.offset(url) == 10


def test_a_creation_that_stalls_tells_how_to_go_on(impatient: Gateway) -> None:
    with impatient.wire() as wire:
        wire.head("POST /resumable", Upload_Complete="?1", Content_Length=100)
        wire.send(b"0123456789")
        answer = wire.answer()
    assert_problem(answer, 408, "body_timeout")
    assert Resumable(impatient.http).offset(answer.headers["location"]) == 10
