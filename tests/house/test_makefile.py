"""`make` is the one door: its help is complete, and what the documents tell people to type exists."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MOST_LINES_OF_THE_README = 150
COMMAND = re.compile(r"(?:^|`|\$ |&& )make(?: -\w+)*((?: [a-z][a-z0-9-]*\b(?!=))+)", re.MULTILINE)


@pytest.fixture(scope="module")
def makefile(root: Path) -> str:
    return (root / "Makefile").read_text()


@pytest.fixture(scope="module")
def targets(makefile: str) -> set[str]:
    return {name for line in re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE) for name in line.split()}


def test_help_lists_every_target(root: Path, targets: set[str]) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make on this machine")
    listed = subprocess.run([make, "-s", "help"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in listed.splitlines() if line.strip()} == targets
    assert [line for line in listed.splitlines() if len(line.split()) < 3] == []


def test_the_readme_fits_on_a_few_screens(root: Path) -> None:
    assert 0 < len((root / "README.md").read_text().splitlines()) < MOST_LINES_OF_THE_README


def test_documents_name_only_targets_that_exist(texts: dict[str, str], targets: set[str]) -> None:
    unknown = [
        f"{name}: make {target}"
        for name, text in texts.items()
        if name.endswith(".md") and name != "CHANGELOG.md"
        for words in COMMAND.findall(text)
        for target in words.split()[:1]
        if target not in targets
    ]
    assert unknown == []


def test_the_readme_shows_the_two_commands(root: Path) -> None:
    shown = {words.split()[0] for words in COMMAND.findall((root / "README.md").read_text())}
    assert {"demo", "test"} <= shown


def test_ci_runs_the_same_targets_and_the_tests_last(root: Path, targets: set[str]) -> None:
    script = (root / ".ci" / "run").read_text()
    match = re.search(r"^for target in (.+); do$", script, re.MULTILINE)
    assert match is not None
    steps = match[1].split()
    assert {"lint", "typecheck", "demo", "test"} <= set(steps) <= targets
    assert steps[-1] == "test"
