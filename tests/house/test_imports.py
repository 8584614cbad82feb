"""Imports point one way. The contracts are in pyproject.toml; here they are run, and shown to bite."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Contract -> (module, line) that breaks it.
VIOLATIONS = {
    "gateway and worker never import each other": ("worker/planted.py", "import gateway"),
    "common imports neither side, nor the rooms that use it": ("common/planted.py", "import client"),
    "common holds no HTTP framework": ("common/planted_web.py", "import fastapi"),
    "client imports nothing of ours": ("client/planted.py", "import common"),
    "nobody imports the command line": ("gateway/planted.py", "import cli"),
    "the use cases know no web framework": ("gateway/service.py", "import starlette"),
    "surfaces translate: they reach no storage, database or queue but through the use cases": (
        "gateway/tus/planted.py",
        "import common.queue",
    ),
    "leaves import no I/O": ("common/errors.py", "import sqlalchemy"),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    wide = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=wide)


def contracts(output: str) -> dict[str, str]:
    """Name -> KEPT or BROKEN, from the summary that lint-imports prints."""
    lines = (line.strip().rpartition(" ") for line in output.splitlines())
    return {name: verdict for name, _, verdict in lines if verdict in {"KEPT", "BROKEN"}}


def test_imports_point_one_way(root: Path) -> None:
    checked = lint_imports(root)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_contract_breaks_where_its_rule_is_broken(root: Path, rooms: tuple[str, ...], tmp_path: Path) -> None:
    shutil.copy(root / "pyproject.toml", tmp_path)
    for room in rooms:
        shutil.copytree(root / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    for module, line in VIOLATIONS.values():
        with (tmp_path / module).open("a") as file:
            file.write(f"\n{line}\n")

    checked = lint_imports(tmp_path)

    assert contracts(checked.stdout) == dict.fromkeys(VIOLATIONS, "BROKEN"), checked.stdout + checked.stderr


def test_a_process_that_serves_loads_nothing_that_only_others_need() -> None:
    loads = "import gateway.app, worker.app, sys; print({'alembic', 'aiobotocore', 'typer'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", loads], text=True).strip() == "set()"
