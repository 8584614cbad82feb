"""`deploy/image/build` chooses an engine that works and tells it what to make; the engines here are stand-ins."""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def engines(tmp_path: Path) -> Callable[..., None]:
    """Put stand-ins on the PATH: those in `broken` have nobody to talk to, the others print what they are asked."""

    def install(*working: str, broken: tuple[str, ...] = ()) -> None:
        for name in (*working, *broken):
            program = tmp_path / name
            refusal = "exit 1" if name in broken else "exit 0"
            program.write_text(f'#!/bin/bash\n[ "$1" = info ] && {refusal}\nprintf "%s\\n" {name} "$@"\n')
            program.chmod(0o755)

    return install


@pytest.fixture
def build(root: Path, tmp_path: Path) -> Build:
    def run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"), **variables}
        command = [str(root / "deploy" / "image" / "build"), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    return run


def test_the_first_engine_that_works_builds(engines: Callable[..., None], build: Build) -> None:
    engines("podman", "buildah", broken=("docker",))
    assert build().stdout.splitlines()[:2] == ["podman", "build"]


def test_the_engine_can_be_named(engines: Callable[..., None], build: Build) -> None:
    engines("docker", "podman", "buildah")
    assert build(ENGINE="buildah").stdout.splitlines()[:2] == ["buildah", "build"]


def test_where_no_engine_works_one_line_says_which_were_tried(engines: Callable[..., None], build: Build) -> None:
    engines(broken=("docker", "podman", "buildah"))

    ended = build()

    assert ended.returncode == 1
    assert ended.stderr.splitlines() == ["no container engine works here; tried: docker podman buildah"]


def test_base_name_version_and_further_arguments_reach_the_engine(
    root: Path, engines: Callable[..., None], build: Build
) -> None:
    engines("docker")
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]

    given = build("--no-cache", PYTHON_IMAGE="python@sha256:0", IMAGE="sluice:7").stdout.splitlines()

    assert {"--no-cache", "sluice:7", "PYTHON_IMAGE=python@sha256:0", f"VERSION={version}"} <= set(given)
