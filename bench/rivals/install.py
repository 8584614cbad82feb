"""Installs a rival by the client of its own registry, once, into `.cache/bench`; pinned by the lock beside it."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "bench"
TUSD = "github.com/tus/tusd/v2/cmd/tusd"
ADDRESS = re.compile(r"https?://\S+")  # stays out of the report
SECONDS = 1200.0  # building tusd from its modules takes some minutes on a small machine


class Missing(Exception):
    """What the rival needs is not on this machine, or could not be installed; the message is the reason."""


def node() -> Path:
    """The folder with `server.mjs` and its packages."""
    _need("node", "npm")
    return _once("node", lambda folder: _run(["npm", "ci", "--no-audit", "--no-fund"], folder))


def tusd() -> Path:
    """The folder with the program `tusd`."""
    _need("go")
    # a module with go.sum pins everything; `go install name@version` would not
    return _once("tusd", lambda folder: _run(["go", "build", "-mod=mod", "-o", "tusd", TUSD], folder))


def python() -> Path:
    """The folder with `venv`, in which both Python rivals are."""

    def make(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", "venv"], folder)
        install = ["venv/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements.txt"]
        _run(install, folder)

    return _once("python", make)


def _need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise Missing(f"no {program} on this machine")


def _once(name: str, make: Callable[[Path], None]) -> Path:
    """A copy of our folder with what `make` puts into it. A folder whose stamp is another one is made anew."""
    source, folder = HERE / name, CACHE / name
    stamp = folder / ".stamp"
    version = _fingerprint(source)
    if not stamp.exists() or stamp.read_text() != version:
        print(f"installing the rival {name} into {folder.relative_to(HERE.parents[1])} (once)", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        make(folder)
        stamp.write_text(version)
    return folder


def _fingerprint(source: Path) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(source.iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.CalledProcessError as error:
        last = ADDRESS.sub("an address", " ".join((error.stderr or error.stdout or "").strip().splitlines()[-1:]))
        raise Missing(f"`{' '.join(command[:3])}` failed: {last[:160]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"`{' '.join(command[:3])}`: {type(error).__name__}") from error
