"""The other servers: pinned, without addresses, and left out with the reason where they cannot be had."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from bench.apart import Driver
from bench.forms import SHORT
from bench.rivals import install
from bench.rivals.catalogue import RIVALS
from bench.rivals.install import Missing
from bench.rows import Result
from bench.servers import Server
from bench.setting import Setting

FOLDER = Path(install.__file__).parent


def about(name: str) -> str:
    return next(rival.about for rival in RIVALS if rival.name == name)


@contextmanager
def starts(name: str) -> Iterator[Server]:
    yield Server(name, "plain", "http://127.0.0.1:1", {}, Path())


class Absent(AbstractContextManager[Server]):
    def __enter__(self) -> Server:
        raise Missing("no such thing here")

    def __exit__(self, *_: object) -> None:
        """Never entered."""


def test_a_rival_whose_program_is_not_there_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Missing, match="no node on this machine"):
        install.node()
    with pytest.raises(Missing, match="no go on this machine"):
        install.tusd()


def test_a_rival_that_is_missing_is_left_out_with_the_reason_and_the_others_run(tmp_path: Path) -> None:
    result = Result()
    setting = Setting(tmp_path, SHORT, Driver())
    with setting.side_by_side([("a", starts("a")), ("b", Absent()), ("c", starts("c"))], result) as running:
        assert [server.name for server in running] == ["a", "c"]
    assert result.skipped == {"b": "no such thing here"}


def test_the_lock_of_the_node_rival_names_no_address_and_has_a_hash_for_each_package() -> None:
    packages = json.loads((FOLDER / "node" / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if name and "integrity" not in package] == []


def test_every_python_package_of_the_rivals_has_its_hashes() -> None:
    text = (FOLDER / "python" / "requirements.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    assert [line[:60] for line in lines if not re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)] == []


def test_the_versions_above_the_tables_are_those_of_the_locks() -> None:
    node = json.loads((FOLDER / "node" / "package.json").read_text())["dependencies"]
    asked = dict(re.findall(r"^(\S+?)==(\S+)$", (FOLDER / "python" / "requirements.in").read_text(), re.MULTILINE))
    tusd = re.search(r"tusd/v2 v(\S+)", (FOLDER / "tusd" / "go.mod").read_text())
    assert about("@tus/server").startswith(f"{node['@tus/server']} with @tus/file-store {node['@tus/file-store']},")
    assert tusd is not None
    assert about("tusd").startswith(f"{tusd[1]} ")
    assert all(about(name).startswith(f"{asked[name]},") for name in ("tuspyserver", "resumable-upload"))
