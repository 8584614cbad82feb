"""The exception tree: every class is complete, and the picture in its docstring is the tree."""

import re

import pytest

import common.errors as module
from common.errors import InsufficientStorage, RequestError, SluiceError, Unavailable, all_errors


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_is_complete(kind: type[SluiceError]) -> None:
    assert re.fullmatch(r"[a-z][a-z_]+", kind.code)
    assert kind.title[0].isupper()
    assert not kind.title.endswith(".")
    assert 400 <= kind.status < 600
    error = kind("Do this.", extra=1)
    assert (str(error), error.detail, error.extras) == ("Do this.", "Do this.", {"extra": 1})


def test_the_picture_of_the_tree_is_the_tree() -> None:
    drawn = re.findall(r"^(?:[│ ]*[├└]── )?([A-Z]\w+)  ", module.__doc__ or "", re.MULTILINE)
    assert sorted(drawn) == sorted(kind.__name__ for kind in all_errors())


def test_requests_are_4xx_and_everything_else_is_5xx() -> None:
    for kind in all_errors():
        assert (400 <= kind.status < 500) == issubclass(kind, RequestError), kind


def test_what_is_unavailable_says_when_to_come_back() -> None:
    assert Unavailable("x").retry_after == 2
    assert Unavailable("x", retry_after=7).retry_after == 7
    assert InsufficientStorage("x").retry_after is None
