"""The locks: pinned, hashed, free of addresses, and still what pyproject.toml asks for."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("runtime", "image", "dev", "lock", "bench")


def locked(root: Path, name: str) -> Iterator[str]:
    """One string for each requirement, its continued lines joined."""
    text = (root / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    return (line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def pins(root: Path, name: str) -> dict[str, Requirement]:
    found = (Requirement(re.split(r"\s+--hash", line)[0]) for line in locked(root, name))
    return {canonicalize_name(pin.name): pin for pin in found}


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_records_no_address(root: Path, name: str) -> None:
    wrong = [line for line in locked(root, name) if "://" in line or " @ " in line or line.startswith("-")]
    assert wrong == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_its_hashes(root: Path, name: str) -> None:
    pin = re.compile(r"[a-z0-9.-]+==\S+( ;.*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [line[:80] for line in locked(root, name) if not pin.fullmatch(line)] == []


def test_the_development_lock_holds_the_runtime_lock(root: Path) -> None:
    assert set(locked(root, "runtime")) <= set(locked(root, "dev"))


def test_the_lock_of_the_image_is_a_part_of_the_runtime_lock(root: Path) -> None:
    assert set(locked(root, "image")) <= set(locked(root, "runtime"))


def test_the_lock_of_the_image_leaves_out_nothing_but_the_embedded_redis(root: Path, project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]
    asked = [
        *project["project"]["dependencies"],
        *(name for extra, names in extras.items() if extra != "embedded" for name in names),
        *project["dependency-groups"]["build"],
    ]
    assert unmet(asked, pins(root, "image")) == []


def test_the_runtime_lock_is_what_the_project_asks_for(root: Path, project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]
    asked = [
        *project["project"]["dependencies"],
        *(name for names in extras.values() for name in names),
        *project["dependency-groups"]["build"],
    ]
    assert unmet(asked, pins(root, "runtime")) == []


def test_the_development_lock_is_what_the_project_asks_for(root: Path, project: dict[str, Any]) -> None:
    assert unmet(project["dependency-groups"]["dev"], pins(root, "dev")) == []


def test_the_lock_of_the_benchmark_is_what_it_asks_for(root: Path, project: dict[str, Any]) -> None:
    assert unmet(project["dependency-groups"]["bench"], pins(root, "bench")) == []


def unmet(asked: list[str], pinned: dict[str, Requirement]) -> list[str]:
    """The requirements for which there is no pin, or one that they do not allow: time for `make lock`."""
    return [text for text in asked if not is_met(Requirement(text), pinned)]


def is_met(wanted: Requirement, pinned: dict[str, Requirement]) -> bool:
    pin = pinned.get(canonicalize_name(wanted.name))
    return pin is not None and all(wanted.specifier.contains(exact.version) for exact in pin.specifier)
