"""Every package says what lives in it, and nothing is named for being leftovers."""

import ast
import tomllib
from pathlib import Path, PurePosixPath

LEFTOVER_NAMES = {"utils", "util", "helpers", "helper", "misc", "common_utils"}
SHORTEST_DESCRIPTION = 30  # characters: shorter than a sentence says nothing


def docstring(text: str) -> str:
    return ast.get_docstring(ast.parse(text)) or ""


def test_every_package_says_what_lives_there(modules: dict[str, str], rooms: tuple[str, ...]) -> None:
    packages = {name: text for name, text in modules.items() if name.endswith("/__init__.py")}
    assert {f"{room}/__init__.py" for room in rooms} <= set(packages)
    assert [name for name, text in packages.items() if len(docstring(text)) < SHORTEST_DESCRIPTION] == []


def test_every_module_of_the_rooms_has_a_docstring(modules: dict[str, str], rooms: tuple[str, ...]) -> None:
    ours = {name: text for name, text in modules.items() if name.split("/")[0] in rooms}
    assert [name for name, text in ours.items() if not docstring(text)] == []


def test_no_module_is_a_drawer_for_leftovers(modules: dict[str, str]) -> None:
    assert [name for name in modules if LEFTOVER_NAMES & set(PurePosixPath(name).with_suffix("").parts)] == []


def test_the_tests_are_no_package(modules: dict[str, str]) -> None:
    assert [name for name in modules if name.startswith("tests/") and name.endswith("/__init__.py")] == []


def test_every_room_is_shipped_and_ruled(root: Path, rooms: tuple[str, ...]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    assert set(project["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(rooms)
    assert set(project["importlinter"]["root_packages"]) == set(rooms)
    assert set(rooms) <= set(project["mypy"]["packages"])
