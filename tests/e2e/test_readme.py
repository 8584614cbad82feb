"""The README's walk-through, word for word, against a real stack: what is printed there works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.stack import RunningStack

README = Path(__file__).parents[2] / "README.md"
URL = "http://127.0.0.1:8000"  # the one thing that is exchanged: `make up` listens there, a test takes any free port
PATIENCE = 60.0  # seconds for the whole walk-through


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which `.venv/bin` is this interpreter's, as in a checkout after `make install`."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    return tmp_path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TMPDIR": str(folder), "SLUICE_STATE_DIR": str(folder / "state"), "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.slow
def test_the_shell_walk_through_works_as_printed(shared_stack: RunningStack, folder: Path) -> None:
    script = "".join(blocks("bash"))
    assert script.count(URL) == 1, "the walk-through names the service in one place"

    done = run(["bash", "-euo", "pipefail", "-c", script.replace(URL, shared_stack.url)], folder)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.search(r"\[\[0, 0\]\]$", done.stdout, re.MULTILINE), "the first chunk is missing after the second"
    assert re.search(r"copy\.bin: OK$", done.stdout, re.MULTILINE)
    assert '"filename":"chunk-aa"' in done.stdout
    assert re.search(r"again\.bin .*sha-256 ok", done.stdout)
    assert re.search(r"^removed [0-9a-f-]{36}$", done.stdout, re.MULTILINE)
    assert "urn:sluice:problem" not in done.stdout


@pytest.mark.slow
def test_the_python_example_works_as_printed(shared_stack: RunningStack, folder: Path) -> None:
    (folder / "big.bin").write_bytes(os.urandom(6_000_000))
    (script,) = blocks("python")

    done = run([sys.executable, "-c", script.replace(URL, shared_stack.url)], folder)

    assert done.returncode == 0, done.stderr
    assert (folder / "copy.bin").read_bytes() == (folder / "big.bin").read_bytes()
