"""Paths are made of ids and of nothing else."""

from pathlib import Path

import pytest

from common.storage.base import ObjectKey, UploadKey
from common.storage.layout import Layout

LAYOUT = Layout(Path("root"))


def test_uploads_and_files_lie_below_their_tenant() -> None:
    assert LAYOUT.upload(UploadKey("acme", "0190-ab")).data == Path("root/acme/uploads/0190-ab/data")
    assert LAYOUT.file(ObjectKey("acme", "0190-ab")) == Path("root/acme/files/ab/0190-ab")


@pytest.mark.parametrize("text", ["", "..", "a/b", "a\0b", "A", "a.b", "ä", "a\n", "a" * 65])
def test_what_is_no_id_never_becomes_a_path(text: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        LAYOUT.upload(UploadKey("acme", text))
    with pytest.raises(ValueError, match="not an id"):
        LAYOUT.upload(UploadKey(text, "0190-ab"))
    with pytest.raises(ValueError, match="not an id"):
        LAYOUT.file(ObjectKey("acme", text))
