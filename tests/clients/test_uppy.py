"""Uppy's Dashboard in a headless Chromium, with its plugin for tus and with the one for S3."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import HERE, MIB, RUN_SECONDS, MakeSample, Sample
from tests.clients.fleet import Fleet

Visit = Callable[..., dict[str, Any]]
TUS = {"plugin": "tus", "chunk": str(5 * MIB)}
PARTS = {"plugin": "s3", "multipart": "1"}
FORM = {"plugin": "s3", "multipart": "0"}
PARTS_OF_5 = {"plugin": "s3", "page": "uppy5.html"}  # sends the parts of one file in parallel


@pytest.fixture
def visit(node: str, chromium: str, pages: str, tmp_path: Path, screenshot: Path) -> Visit:
    """A person on the page who uploads these files: what happened."""

    def run(
        fleet: Fleet, samples: list[Sample], course: str, *, plugin: str, page: str = "uppy.html", **query: str
    ) -> dict[str, Any]:
        endpoint = f"{fleet.url}/tus" if plugin == "tus" else fleet.url
        pairs = "&".join(f"{name}={value}" for name, value in {"plugin": plugin, "endpoint": endpoint, **query}.items())
        options = {
            "browser": chromium,
            "profile": str(tmp_path / "profile"),
            "page": f"{pages}/{page}?{pairs}",
            "files": [str(sample.path) for sample in samples],
            "course": course,
            "screenshot": str(screenshot),
        }
        command = [node, str(HERE / "programs" / "browser.js"), json.dumps(options)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
        assert ended.returncode == 0, ended.stderr
        return dict(json.loads(ended.stdout))

    return run


def created(requests: list[dict[str, Any]]) -> list[str]:
    """The requests that make an upload."""
    urls = [request["url"] for request in requests if request["method"] == "POST"]
    return [url for url in urls if url.endswith(("/tus", "/s3/multipart"))]


def bodies(requests: list[dict[str, Any]]) -> list[str]:
    """Which bytes were sent: the offset of an append, the address of a part."""
    return [request["offset"] or request["url"] for request in requests if request["method"] in ("PATCH", "PUT")]


def assert_uploaded(fleet: Fleet, seen: dict[str, Any], *samples: Sample) -> None:
    """The page shows 100 %, and the service lists the bytes that were chosen."""
    assert [what["event"] for what in seen["happened"] if what["event"] != "restored"] == ["success"] * len(samples), (
        seen
    )
    assert seen["shown"] == 100
    for sample in samples:
        assert fleet.listed(sample.name)["digests"]["sha-256"] == sample.sha256


@pytest.mark.parametrize("plugin", [TUS, PARTS, FORM, PARTS_OF_5], ids=["tus", "s3-parts", "s3-form", "s3-parallel"])
@pytest.mark.long_form
def test_files_that_are_added_become_files_here(
    fleet: Fleet, visit: Visit, sample: MakeSample, plugin: dict[str, str]
) -> None:
    samples = [sample(12 * MIB), sample(1000)]
    seen = visit(fleet, samples, "straight", **plugin)
    assert_uploaded(fleet, seen, *samples)
    assert plugin != PARTS_OF_5 or seen["together"] > 2


@pytest.mark.parametrize("plugin", [TUS, PARTS, PARTS_OF_5], ids=["tus", "s3-parts", "s3-parallel"])
@pytest.mark.long_form
def test_a_paused_upload_stands_still_and_goes_on(
    fleet: Fleet, visit: Visit, sample: MakeSample, plugin: dict[str, str]
) -> None:
    one = sample(16 * MIB)
    seen = visit(fleet, [one], "pause", **plugin)
    assert 0 < seen["paused"] == seen["later"] < 100
    assert_uploaded(fleet, seen, one)


@pytest.mark.parametrize("plugin", [TUS, PARTS], ids=["tus", "s3-parts"])
def test_a_page_that_is_loaded_again_goes_on_where_it_was(
    fleet: Fleet, visit: Visit, sample: MakeSample, plugin: dict[str, str]
) -> None:
    one = sample(20 * MIB)
    seen = visit(fleet, [one], "reload", **plugin)
    assert_uploaded(fleet, seen, one)
    before, after = seen["requests"][: seen["before"]], seen["requests"][seen["before"] :]
    assert [len(created(before)), len(created(after))] == [1, 0]
    assert set(bodies(after)) - set(bodies(before)), "something was left to send"
    assert set(bodies(before)) - set(bodies(after)), "what had arrived was not sent again"


@pytest.mark.long_form
def test_parts_go_to_the_store_by_themselves(direct_fleet: Fleet, visit: Visit, sample: MakeSample) -> None:
    """Not cut on the way: versitygw 1.7.0 lists a part whose body was cut as a whole one, and then finalize refuses."""
    one = sample(12 * MIB)
    seen = visit(direct_fleet, [one], "straight", **PARTS)
    assert not [url for url in bodies(seen["requests"]) if url.startswith(direct_fleet.url)]
    assert_uploaded(direct_fleet, seen, one)
