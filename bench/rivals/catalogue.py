"""Every rival: its pinned version, how it is started, and the fastest way that it offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.rivals import install

MIB = 1024**2


@dataclass(frozen=True)
class Rival:
    """`command` makes the command line of the installed folder, the port and the folder for the data."""

    name: str
    about: str
    install: Callable[[], Path]
    command: Callable[[Path, int, Path], list[str]]
    fsync: str
    parallel: bool = True
    """It takes parallel parts and puts them together (concatenation)."""
    together: bool = False
    """It takes a small file in one request (creation-with-upload)."""
    patch: int | None = None
    """Bytes of one PATCH; None: as many as there are, which is the fastest where a body is not held in memory."""
    downloads: bool = True
    """It serves what it has stored."""
    slow: bool = False
    """So much slower than the others that it is measured in every second round."""


def _node(folder: Path, port: int, data: Path) -> list[str]:
    return ["node", str(folder / "server.mjs"), str(port), str(data)]


def _tusd(folder: Path, port: int, data: Path) -> list[str]:
    options = {
        "host": "127.0.0.1",
        "port": port,
        "upload-dir": data,
        "base-path": "/files/",
        "show-startup-logs": "false",
    }
    return [str(folder / "tusd"), *(f"-{name}={value}" for name, value in options.items())]


def _tuspyserver(folder: Path, port: int, data: Path) -> list[str]:
    return [str(folder / "venv/bin/python"), str(folder / "tuspyserver_app.py"), str(port), str(data)]


def _resumable(folder: Path, port: int, data: Path) -> list[str]:
    program = [str(folder / "venv/bin/resumable-upload"), "serve", "--host", "127.0.0.1", "--port", str(port)]
    place = ["--upload-dir", str(data), "--db-path", str(data / "uploads.db"), "--enable-downloads"]
    return [*program, *place, "--log-level", "WARNING"]


RIVALS = (
    Rival("@tus/server", "2.4.5 with @tus/file-store 2.1.1, Node", install.node, _node, "never", False, True),
    Rival("tusd", "2.10.0 with its file store, Go", install.tusd, _tusd, "never", together=True),
    Rival(
        "tuspyserver",
        "4.4.3, uvicorn",
        install.python,
        _tuspyserver,
        "the state of an upload, and joined files",
        downloads=False,
        slow=True,
    ),
    Rival(
        "resumable-upload",
        "0.3.0, its own server",
        install.python,
        _resumable,
        "its SQLite rows only",
        patch=16 * MIB,
        slow=True,
    ),
)
