"""Names of media types, and which contradict each other."""

import mimetypes

import pytest

from worker.attributes.media_types import compatible_types, extension_type, normalise


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Text/CSV; charset=utf-8", "text/csv"),
        ("image/jpg", "image/jpeg"),
        ("application/x-gzip", "application/gzip"),
        ("application/octet-stream", None),
        ("application/x-www-form-urlencoded", None),
        ("", None),
        ("nonsense", None),
        ("text/html\r\nX: y", None),
        ("text/" + "x" * 1000, None),
        (None, None),
    ],
)
def test_a_type_has_one_spelling_or_none(given: str | None, name: str | None) -> None:
    assert normalise(given) == name


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a.csv", "text/csv"),
        ("A.PNG", "image/png"),
        ("a.tar.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.webp", "image/webp"),
        ("a.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.ts", None),
        ("a.bin", None),
        ("a", None),
        (".png", None),
        ("a.", None),
        ("", None),
        ("data:text/html,x", None),
        ("x" * 300 + ".csv", "text/csv"),
    ],
)
def test_the_extension_claims_a_type(filename: str, name: str | None) -> None:
    assert extension_type(filename) == name


def test_what_the_machine_says_of_an_extension_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mimetypes, "types_map", {".png": "text/evil", ".sluice": "text/evil"})

    assert (extension_type("a.png"), extension_type("a.sluice")) == ("image/png", None)


@pytest.mark.parametrize(
    ("detected", "claimed"),
    [
        ("text/plain", "text/csv"),
        ("text/csv", "text/plain"),
        ("text/plain", "application/json"),
        ("application/json", "text/plain"),
        ("text/html", "text/plain"),
        ("application/xml", "image/svg+xml"),
        ("text/csv", "application/vnd.ms-excel"),
        ("image/png", "application/octet-stream"),
        ("image/png", "not a type"),
        ("inode/x-empty", "image/png"),
        ("image/jpeg", "image/jpg"),
        ("application/zip", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("application/zip", "application/epub+zip"),
        ("application/zip", "application/java-archive"),
        ("application/x-ole-storage", "application/msword"),
        ("video/mp4", "audio/mp4"),
        ("video/matroska", "video/x-matroska"),
        ("application/x-executable", "application/x-sharedlib"),
        ("application/gzip", "application/x-tar"),
        ("application/octet-stream", "application/x-own-format"),
        ("image/tiff", "image/x-canon-cr2"),
        ("text/plain", "application/x-own-format"),
    ],
)
def test_content_may_honestly_be_called_so(detected: str, claimed: str) -> None:
    assert compatible_types(detected, claimed)


@pytest.mark.parametrize(
    ("detected", "claimed"),
    [
        ("application/x-executable", "image/png"),
        ("application/x-executable", "text/plain"),
        ("application/vnd.microsoft.portable-executable", "application/msword"),
        ("application/vnd.microsoft.portable-executable", "application/x-own-format"),
        ("text/html", "image/png"),
        ("text/html", "text/csv"),
        ("text/html", "application/json"),
        ("text/plain", "image/png"),
        ("text/plain", "application/pdf"),
        ("text/plain", "video/x-own-format"),
        ("image/svg+xml", "image/png"),
        ("image/png", "image/jpeg"),
        ("image/png", "text/plain"),
        ("image/png", "application/x-own-format"),
        ("application/pdf", "application/zip"),
        ("application/pdf", "application/x-own-format"),
        ("application/zip", "application/pdf"),
        ("application/zip", "image/x-own-format"),
        ("application/gzip", "text/csv"),
        ("application/octet-stream", "image/png"),
        ("application/octet-stream", "text/csv"),
        ("application/octet-stream", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ],
)
def test_content_contradicts_the_claim(detected: str, claimed: str) -> None:
    assert not compatible_types(detected, claimed)
