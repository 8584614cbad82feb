"""docs/clients.md names the versions that the tests run, and every route that Uppy's S3 plugin calls."""

import json
import re
from pathlib import Path

import pytest
from starlette.routing import Route

from gateway.companion.surface import COMPANION


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs/clients.md").read_text()


def pinned(root: Path) -> dict[str, set[str]]:
    """Major and minor versions by package, from both locks; a package may be there under several names."""
    found: dict[str, set[str]] = {}
    dependencies = json.loads((root / "tests/clients/package.json").read_text())["dependencies"]
    for name, version in dependencies.items():
        real, _, number = (
            version.removeprefix("npm:").rpartition("@") if version.startswith("npm:") else (name, "", version)
        )
        found.setdefault(real, set()).add(".".join(number.split(".")[:2]))
    tuspy = re.findall(r"^tuspy==(\d+\.\d+)", (root / "requirements/dev.txt").read_text(), re.MULTILINE)
    return {**found, "tuspy": set(tuspy)}


@pytest.mark.parametrize("name", ["tus-js-client", "@uppy/tus", "@uppy/aws-s3", "tuspy"])
def test_the_versions_in_the_table_are_those_that_run(root: Path, page: str, name: str) -> None:
    table = page.partition("\n| protocol ")[2].partition("\n\n")[0]
    # a name, its version, and what follows it: options, and further versions of the same
    said = re.findall(rf"{re.escape(name)}`? (\d+\.\d+)((?: with `\w+`, \d+\.\d+)*)", table)
    assert {number for first, more in said for number in (first, *re.findall(r"\d+\.\d+", more))} == pinned(root)[name]


def test_every_route_of_the_companion_is_listed_and_no_other(page: str) -> None:
    listed = set(re.findall(r"^\| `([A-Z]+ /s3/[^\s`?]+)", page, re.MULTILINE))
    routes = {
        f"{method} {re.sub(r'_id}', '}', route.path).replace('{number}', '{part}')}"
        for router in COMPANION.routers
        for route in router.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert routes - listed == {"PUT /s3/multipart/{upload}/{part}"}, "the one whose address is handed out"
    assert listed - routes == set()
