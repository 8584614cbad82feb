"""Ids sort by time, and nothing else passes for one."""

import pytest

from common.ids import is_id, new_id


def test_ids_are_ids_and_sort_by_time() -> None:
    made = [new_id() for _ in range(2000)]
    assert all(map(is_id, made))
    assert made == sorted(made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "../" + new_id(), new_id() + "\n", new_id().upper(), new_id().replace("-", ""), f" {new_id()}",
        "00000000-0000-4000-8000-000000000000", "01920000-0000-7000-0000-000000000000",
        "01920000-0000-7000-8000-00000000000g",
    ],
)  # fmt: skip
def test_anything_else_is_no_id(text: str) -> None:
    assert not is_id(text)
