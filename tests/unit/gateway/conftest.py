"""Bodies that arrive in given pieces, and the memory they are counted in."""

from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from common.settings import HttpSettings
from gateway.intake import IntakeMemory

BodyOf = Callable[..., AsyncIterator[bytes]]


@pytest.fixture
def memory() -> IntakeMemory:
    """The budget of one process, with default settings."""
    return IntakeMemory(HttpSettings())


@pytest.fixture
def body_of() -> BodyOf:
    """A body that yields the given pieces, then raises `error` if there is one."""

    async def body(pieces: Iterable[bytes], error: BaseException | None = None) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if error is not None:
            raise error

    return body
