"""`sluice get`, `ls` and `rm`."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.get import safe_name
from cli.stack import CHECKOUT
from tests.unit.cli.conftest import Sluice
from tests.unit.client.stand_in import StandIn


def test_a_file_is_written_under_its_own_name(sluice: Sluice, stand_in: StandIn, folder: Path) -> None:
    outcome = sluice("get", stand_in.add_file(b"content", "a.txt"))
    assert outcome.status == 0, outcome.err
    assert (folder / "a.txt").read_bytes() == b"content"
    assert outcome.out.endswith("sha-256 ok\n")


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "..\\evil", "a/../evil", ".evil", "\x1b[2Jevil"])
def test_a_name_from_the_server_never_leaves_the_folder(
    sluice: Sluice, stand_in: StandIn, folder: Path, name: str
) -> None:
    sluice("get", stand_in.add_file(b"content", name))
    (written,) = folder.iterdir()
    assert written.name in ("evil", "[2Jevil")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["here"]


def test_an_existing_file_is_kept_without_force(sluice: Sluice, stand_in: StandIn, folder: Path) -> None:
    (folder / "a.txt").write_text("mine")
    file_id = stand_in.add_file(b"content", "a.txt")
    outcome = sluice("get", file_id)
    assert outcome.status == 1
    assert outcome.err == "sluice: a.txt exists already; it was left as it is, --force overwrites it\n"
    assert (folder / "a.txt").read_text() == "mine"
    assert sluice("get", "--force", file_id).status == 0
    assert (folder / "a.txt").read_text() == "content"


def test_a_folder_that_is_not_there_is_one_line(sluice: Sluice, stand_in: StandIn, folder: Path) -> None:
    outcome = sluice("get", stand_in.add_file(b"content", "a.txt"), "-o", "no/such/dir/x")
    assert (outcome.status, outcome.err) == (1, "sluice: there is no folder no/such/dir\n")


def test_ctrl_c_ends_a_download_with_one_line_and_no_file(
    environment: dict[str, str], stand_in: StandIn, folder: Path
) -> None:
    file_id = stand_in.add_file(b"content", "a.txt")
    held = stand_in.fault("GET", "/content", "hold")
    command = [sys.executable, "-m", "cli.main", "get", file_id, "-o", str(folder / "a.txt")]
    with subprocess.Popen(command, env=environment, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True) as run:
        assert held.reached.wait(20)
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=20)
    assert (run.returncode, told) == (130, f"sluice: {file_id}: interrupted; nothing was written\n")
    assert list(folder.iterdir()) == []


def test_a_download_that_is_stuck_says_so(sluice: Sluice, stand_in: StandIn, folder: Path) -> None:
    file_id = stand_in.add_file(b"content", "a.txt")
    stand_in.fault("GET", "/content", "answer", status=503, times=2)
    outcome = sluice("get", file_id)
    assert outcome.status == 0
    assert outcome.err == "sluice: a.txt: refused: unavailable (503 unavailable) [request r-1]; attempt 3 of 5\n"


def test_the_output_may_be_a_path_or_a_folder(sluice: Sluice, stand_in: StandIn, folder: Path) -> None:
    file_id = stand_in.add_file(b"content", "a.txt")
    (folder / "sub").mkdir()
    sluice("get", file_id, "-o", "b.txt")
    sluice("get", file_id, "-o", "sub")
    assert (folder / "b.txt").read_text() == (folder / "sub" / "a.txt").read_text() == "content"


def test_an_unknown_file_is_one_line(sluice: Sluice, folder: Path) -> None:
    outcome = sluice("get", "unknown")
    refused = "refused: file_not_found (404 file_not_found) [request r-1]; `sluice ls` lists the files"
    assert (outcome.status, outcome.err) == (1, f"sluice: {refused}\n")
    outcome = sluice("rm", "unknown")
    assert (outcome.status, outcome.err) == (1, f"sluice: unknown: {refused}\n")


@pytest.mark.parametrize(("claimed", "name"), [("", "f-1"), ("..", "f-1"), ("a/", "f-1"), ("ü" * 200, "ü" * 127)])
def test_a_name_is_never_empty_and_never_too_long(claimed: str, name: str) -> None:
    assert safe_name(claimed, "f-1") == name


def test_files_are_listed_over_all_pages(sluice: Sluice, stand_in: StandIn) -> None:
    for name in "abcde":
        stand_in.add_file(b"", name)
    assert [file["filename"] for file in sluice("ls", "--json").objects()] == list("abcde")
    assert len(sluice("ls", "--json", "--limit", "3").objects()) == 3


def test_a_listing_for_people_has_ids_and_safe_names(sluice: Sluice, stand_in: StandIn) -> None:
    file_id = stand_in.add_file(b"x" * 2048, "a\x1b[31m[bold]")
    out = sluice("ls").out
    assert file_id in out
    assert "2.0 KiB" in out
    assert "\x1b" not in out
    assert "[bold]" in out


def test_files_are_removed_and_failures_told(sluice: Sluice, stand_in: StandIn) -> None:
    file_id = stand_in.add_file(b"", "a")
    outcome = sluice("rm", "unknown", file_id)
    assert outcome.status == 1
    assert outcome.out == f"removed {file_id}\n"
    assert outcome.err.startswith("sluice: unknown: refused")
    assert stand_in.files == {}
