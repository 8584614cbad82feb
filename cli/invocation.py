"""How to run this very `sluice` again: it need not be on anybody's PATH."""

import os
import shlex
import sys
from pathlib import Path


def invocation() -> str:
    """The command as a shell takes it, short where it lies below the current folder (`.venv/bin/sluice`)."""
    candidates = [Path(sys.executable).with_name("sluice")]
    if Path(sys.argv[0]).name == "sluice":
        candidates.insert(0, Path(os.path.abspath(sys.argv[0])))  # noqa: PTH100  resolve() would follow links
    for path in candidates:
        if path.is_file():
            return shlex.quote(_shortened(path))
    return f"{shlex.quote(sys.executable)} -m cli.main"


def _shortened(path: Path) -> str:
    here = Path.cwd()
    if not path.is_relative_to(here):
        return str(path)
    below = str(path.relative_to(here))
    return below if os.sep in below else os.path.join(os.curdir, below)  # noqa: PTH118  Path drops the dot
