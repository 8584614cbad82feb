"""The image by its Dockerfile: what it is made from, what it runs as. Building it is `make image`."""

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

COMPILERS = re.compile(r"\b(?:gcc|g\+\+|clang|build-essential|make|python3-dev|apt-get|apk)\b")


class Step(NamedTuple):
    """One instruction and its arguments, continued lines joined."""

    word: str
    rest: str


@pytest.fixture(scope="module")
def stages(root: Path) -> list[list[Step]]:
    """The instructions of each stage; those before the first FROM are left out."""
    text = re.sub(r"^#.*\n", "", (root / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    steps = [Step(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]
    starts = [number for number, step in enumerate(steps) if step.word == "FROM"]
    return [steps[start:end] for start, end in zip(starts, [*starts[1:], len(steps)], strict=True)]


def of(stage: list[Step], word: str) -> list[str]:
    return [step.rest for step in stage if step.word == word]


def copied(stage: list[Step]) -> list[str]:
    """What a stage copies from the repository."""
    found = (rest.split() for rest in of(stage, "COPY") if not rest.startswith("--from"))
    return [word for words in found for word in words[:-1] if not word.startswith("--")]


def test_the_base_is_one_argument_that_takes_a_digest(root: Path, stages: list[list[Step]]) -> None:
    assert {of(stage, "FROM")[0].split()[0] for stage in stages} == {"${PYTHON_IMAGE}"}
    default = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (root / "Dockerfile").read_text(), re.MULTILINE)
    assert default is not None
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-\w+", default[1])


def test_packages_come_from_the_hashed_lock_as_wheels(stages: list[list[Step]]) -> None:
    installs = [rest for stage in stages for rest in of(stage, "RUN") if "pip install" in rest]
    locked, ours = installs
    assert "--require-hashes" in locked
    assert "--only-binary=:all:" in locked
    assert "-r requirements/image.txt" in locked
    assert "--no-index --no-deps --no-build-isolation" in ours


def test_no_stage_installs_a_compiler(stages: list[list[Step]]) -> None:
    assert [rest for stage in stages for rest in of(stage, "RUN") if COMPILERS.search(rest)] == []


def test_the_image_has_every_room_of_the_wheel_and_no_other_code(root: Path, stages: list[list[Step]]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    rooms = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    folders = {name for name in copied(stages[0]) if (root / name).is_dir()}
    assert folders == rooms


def test_the_build_context_lets_through_what_is_copied_and_nothing_else(root: Path, stages: list[list[Step]]) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == {name for stage in stages for name in copied(stage)}


def test_what_is_copied_exists(root: Path, stages: list[list[Step]]) -> None:
    assert [name for stage in stages for name in copied(stage) if not (root / name).exists()] == []


def test_the_last_stage_keeps_only_the_environment_of_the_first(stages: list[list[Step]]) -> None:
    last = stages[-1]
    assert [rest for rest in of(last, "COPY") if rest.startswith("--from")] == ["--from=build /opt/sluice /opt/sluice"]
    assert copied(last) == ["deploy/image/probe"]


def test_the_image_runs_as_a_numbered_user_without_rights(stages: list[list[Step]]) -> None:
    assert of(stages[-1], "USER") == ["10001:10001"]


def test_one_image_serves_every_command_and_ends_by_sigterm(stages: list[list[Step]]) -> None:
    last = stages[-1]
    assert of(last, "ENTRYPOINT") == ['["sluice"]']
    assert of(last, "STOPSIGNAL") == ["SIGTERM"]


def test_no_health_check_starts_an_interpreter(stages: list[list[Step]]) -> None:
    assert of(stages[-1], "HEALTHCHECK") == []


def test_the_labels_say_what_the_image_is_and_where_it_is_from(stages: list[list[Step]]) -> None:
    labels = set(re.findall(r"org\.opencontainers\.image\.([\w.]+)=", " ".join(of(stages[-1], "LABEL"))))
    assert {"title", "description", "licenses", "source", "version", "revision", "created", "base.name"} <= labels
