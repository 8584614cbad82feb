"""What docs/clients.md shows to type runs as it is printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.clients.conftest import HERE, RUN_SECONDS
from tests.clients.fleet import Fleet

pytestmark = pytest.mark.long_form

PAGE = HERE.parents[1] / "docs" / "clients.md"
SERVICE = "http://127.0.0.1:8000"


def example(language: str) -> str:
    """The first block of a language."""
    (found, *_) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "big.bin").write_bytes(os.urandom(9_000_000))
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    return tmp_path


def assert_prints_the_upload(fleet: Fleet, command: list[str], folder: Path) -> None:
    """It ends well, and the address that it prints gives the file back."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    upload = done.stdout.strip().rpartition("/")[2]
    job = httpx.get(f"{fleet.url}/v1/uploads/{upload}", trust_env=False).json()["job_id"]
    ended = httpx.get(f"{fleet.url}/v1/jobs/{job}", params={"wait": 30}, trust_env=False, timeout=40).json()
    content = httpx.get(f"{fleet.url}{ended['links']['content']}", trust_env=False, timeout=30).content
    assert content == (folder / "big.bin").read_bytes()


def test_the_example_for_tus_js_client(fleet: Fleet, node: str, folder: Path) -> None:
    (folder / "example.mjs").write_text(example("js").replace(SERVICE, fleet.url))
    assert_prints_the_upload(fleet, [node, "example.mjs"], folder)


def test_the_example_for_tuspy(fleet: Fleet, folder: Path) -> None:
    assert_prints_the_upload(fleet, [sys.executable, "-c", example("python").replace(SERVICE, fleet.url)], folder)
