"""Ids sort by time, and nothing else passes for one."""

import pytest

from common.ids import is_id, new_id

ID = "01920000-0000-7000-8000-0123456789ab"


def test_ids_are_ids_and_sort_by_time() -> None:
    assert is_id(ID)
    made = [new_id() for _ in range(2000)]
    assert all(map(is_id, made))
    assert made == sorted(made)
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", f"../{ID}", f"{ID}\n", ID.upper(), ID.replace("-", ""), f" {ID}",
        "00000000-0000-4000-8000-000000000000", "01920000-0000-7000-0000-000000000000",
        "01920000-0000-7000-8000-00000000000g",
    ],
)  # fmt: skip
def test_anything_else_is_no_id(text: str) -> None:
    assert not is_id(text)
