"""What the house rules look at: the repository, its files, its Python code."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("gateway", "worker", "common", "client", "cli")


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def rooms() -> tuple[str, ...]:
    """The five packages."""
    return ROOMS


@pytest.fixture(scope="session")
def repository_files(root: Path) -> list[Path]:
    """Every file that is in git or would be with the next `git add .`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: which files belong to the repository is unknown")
    return sorted(path for name in listed.split("\0") if name and (path := root / name).is_file())


@pytest.fixture(scope="session")
def texts(root: Path, repository_files: list[Path]) -> dict[str, str]:
    """Path from the top -> content, for every file of the repository that is UTF-8 text."""
    found = {}
    for path in repository_files:
        content = path.read_bytes()
        if b"\0" not in content:
            found[str(path.relative_to(root))] = content.decode("utf-8")
    return found


@pytest.fixture(scope="session")
def modules(texts: dict[str, str]) -> dict[str, str]:
    """The Python files among `texts`."""
    return {name: text for name, text in texts.items() if name.endswith(".py")}
