"""Renders every overlay into `rendered/`: `make manifests`.

The output is committed, so that the tests of the manifests run where no renderer is and a reviewer sees what changes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
OVERLAYS = HERE / "overlays"
RENDERED = HERE / "rendered"
OLDEST_KUBECTL = (1, 27)  # brings kustomize 5: older ones do not know components with generators that merge
OLDEST_KUSTOMIZE = (5, 0)
HEAD = "# Made by `make manifests` from overlays/{}: do not edit.\n"


class NoRendererError(Exception):
    """Neither a kubectl nor a kustomize that is new enough; the message is one line for the person at the terminal."""


def overlays() -> list[str]:
    """Names of the overlays."""
    return sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))


def renderer() -> list[str]:
    """The command that renders a folder. Raises NoRendererError."""
    beside_python = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside_python, os.environ.get("PATH", "")])
    candidates: list[tuple[str, Sequence[str], Callable[[str], bool]]] = [
        ("kustomize", ("build",), _new_kustomize),
        ("kubectl", ("kustomize",), _new_kubectl),
    ]
    for name, arguments, new_enough in candidates:
        program = shutil.which(name, path=path)
        if program is not None and new_enough(program):
            return [program, *arguments]
    raise NoRendererError(
        "no renderer: kubectl 1.27 or newer, or kustomize 5 (where Go is, `make manifests` builds it)"
    )


def render(command: Sequence[str], overlay: str) -> str:
    """The objects of one overlay as YAML. Raises CalledProcessError."""
    ended = subprocess.run(
        [*command, str(OVERLAYS / overlay)], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    return HEAD.format(overlay) + ended.stdout


def main() -> int:
    """Write `rendered/`; with `--check` only look for a renderer. The exit status: 1 when there is none."""
    check = "--check" in sys.argv[1:]
    try:
        command = renderer()
    except NoRendererError as error:
        if not check:
            sys.stderr.write(f"{error}\n")
        return 1
    if check:
        return 0
    RENDERED.mkdir(exist_ok=True)
    for old in RENDERED.glob("*.yaml"):
        old.unlink()
    for overlay in overlays():
        (RENDERED / f"{overlay}.yaml").write_text(render(command, overlay), encoding="utf-8")
    return 0


def _new_kubectl(program: str) -> bool:
    shown = _output(program, "version", "--client", "--output=json")
    try:
        version = json.loads(shown)["clientVersion"]
    except (ValueError, KeyError):
        return False
    return (int(version["major"]), int(re.sub(r"\D.*", "", version["minor"]))) >= OLDEST_KUBECTL


def _new_kustomize(program: str) -> bool:
    found = re.search(r"v?(\d+)\.(\d+)", _output(program, "version"))
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST_KUSTOMIZE


def _output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout


if __name__ == "__main__":
    sys.exit(main())
