"""`sluice put`."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import typer

from cli.put import parse_tag
from client import Client, RetryPolicy
from tests.unit.cli.conftest import Sluice
from tests.unit.client.conftest import MakeFile
from tests.unit.client.stand_in import CHUNK_SIZE, StandIn

SIZE = 8 * CHUNK_SIZE


def test_a_file_is_uploaded_and_told_in_one_line(sluice: Sluice, stand_in: StandIn, make_file: MakeFile) -> None:
    path = make_file(SIZE, "photo.png")
    outcome = sluice("put", path, "--tag", "a=1", "--tag", "b=", "--description", "d")
    assert outcome.status == 0, outcome.err
    (file_id, file), *_ = stand_in.files.items()
    assert outcome.out == f"{file_id}  sha-256 {file['digests']['sha-256']}  succeeded  {path}\n"
    request = next(iter(stand_in.uploads.values())).request
    assert request["tags"] == {"a": "1", "b": ""}
    assert (request["description"], request["content_type"]) == ("d", "image/png")


def test_json_is_one_object_a_file_and_nothing_else(sluice: Sluice, make_file: MakeFile) -> None:
    paths = [make_file(10, "a"), make_file(20, "b")]
    first, second = sluice("put", "--json", *paths).objects()
    assert (first["path"], first["size"], first["resumed"], first["sent_bytes"]) == (str(paths[0]), 10, False, 10)
    assert second["job_state"] == "succeeded"


def test_one_failure_does_not_stop_the_others(sluice: Sluice, stand_in: StandIn, make_file: MakeFile) -> None:
    outcome = sluice("put", "--json", "not-there", make_file(10))
    assert outcome.status == 1
    assert [line["ok"] for line in outcome.objects()] == [False, True]
    assert outcome.err == "sluice: not-there: No such file or directory\n"


def test_a_service_that_is_down_is_told_while_it_is_tried_and_at_the_end(
    sluice: Sluice, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch, free_port: int, tmp_path: Path
) -> None:
    hurried = RetryPolicy(attempts=4, base=0.001, cap=0.002)
    monkeypatch.setattr("cli.put.Client", partial(Client, retry=hurried))
    path, url = make_file(10), f"http://127.0.0.1:{free_port}"
    outcome = sluice("put", path, "--url", url)
    assert outcome.status == 1
    meanwhile, last = outcome.err.splitlines()
    assert meanwhile == f"sluice: data.bin: no answer from {url}: connection refused; attempt 3 of 4"
    assert last == (
        f"sluice: {path}: no answer from {url} after 4 attempts: connection refused. Is the gateway running there "
        "(--url)? Once it is, the same command goes on where it stopped."
    )
    assert list((tmp_path / "state" / "uploads").iterdir()) == []


def test_a_folder_is_refused_and_named_once(sluice: Sluice, folder: Path) -> None:
    outcome = sluice("put", folder)
    assert (outcome.status, outcome.err) == (1, f"sluice: {folder} is a folder; give the files in it\n")


def test_an_empty_name_is_wrong_usage(sluice: Sluice) -> None:
    outcome = sluice("put", "")
    assert outcome.status == 2
    assert "the name of a file cannot be empty" in outcome.err


def test_a_url_in_the_place_of_a_file_is_wrong_usage(sluice: Sluice) -> None:
    outcome = sluice("put", "http://127.0.0.1:8000")
    assert outcome.status == 2
    assert "put takes files; the server is named by --url http://127.0.0.1:8000" in " ".join(outcome.err.split())


def test_what_was_left_behind_a_month_ago_is_forgotten(sluice: Sluice, make_file: MakeFile, tmp_path: Path) -> None:
    uploads = tmp_path / "state" / "uploads"
    uploads.mkdir(parents=True)
    old, young = uploads / f"{'0' * 64}.json", uploads / f"{'1' * 64}.json"
    for path, days in ((old, 31), (young, 29)):
        path.touch()
        os.utime(path, (time.time() - days * 86400,) * 2)
    assert sluice("put", make_file(10)).status == 0
    assert list(uploads.iterdir()) == [young]


def test_a_name_that_is_no_text_can_be_uploaded_and_told(
    sluice: Sluice, stand_in: StandIn, make_file: MakeFile
) -> None:
    path = make_file(10, os.fsdecode(b"a\xff.bin"))
    assert sluice("put", "--json", path).objects()[0]["filename"] == "a\N{REPLACEMENT CHARACTER}.bin"
    assert sluice("put", path).status == 0


def test_a_refusal_is_told_with_its_code(sluice: Sluice, stand_in: StandIn, make_file: MakeFile) -> None:
    stand_in.fault("POST", "/v1/uploads", "answer", status=415, code="extension_not_allowed")
    outcome = sluice("put", "--json", make_file(10))
    assert outcome.objects()[0]["error"]["code"] == "extension_not_allowed"
    assert "refused: extension_not_allowed" in outcome.err


@pytest.mark.slow
def test_a_later_process_sends_only_what_is_missing(
    environment: dict[str, str], stand_in: StandIn, make_file: MakeFile
) -> None:
    path = make_file(SIZE)
    command = [sys.executable, "-m", "cli.main", "put", "--json", "--parallel", "1", str(path)]
    held = stand_in.fault("PUT", "/chunks/5", "hold")
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as first:
        assert held.reached.wait(20)
        first.kill()
    second = subprocess.run(command, env=environment, capture_output=True, check=True)
    result = json.loads(second.stdout)
    assert (result["resumed"], result["sent_bytes"]) == (True, SIZE - 5 * CHUNK_SIZE)
    assert stand_in.contents[result["file_id"]] == path.read_bytes()


def test_ctrl_c_is_status_130_and_one_line(environment: dict[str, str], stand_in: StandIn, make_file: MakeFile) -> None:
    path = make_file(SIZE)
    held = stand_in.fault("PUT", "/chunks/1", "hold")
    command = [sys.executable, "-m", "cli.main", "put", "--parallel", "1", str(path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as run:
        assert held.reached.wait(20)
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=20)
    assert run.returncode == 130
    assert told == f"sluice: {path}: interrupted; the same command goes on where it stopped\n"


def test_a_resumed_upload_says_how_much_was_there(sluice: Sluice, stand_in: StandIn, make_file: MakeFile) -> None:
    path = make_file(SIZE)
    stand_in.fault("PUT", "/chunks/4", "answer", status=403, code="forbidden")
    assert sluice("put", "--parallel", "1", path).status == 1
    assert sluice("put", path).out.endswith("resumed, 256.0 KiB of 512.0 KiB were there\n")


def test_no_resume_keeps_and_uses_no_state(
    sluice: Sluice, stand_in: StandIn, make_file: MakeFile, tmp_path: Path
) -> None:
    path = make_file(SIZE)
    stand_in.fault("PUT", "/chunks/4", "answer", status=403, code="forbidden")
    sluice("put", "--no-resume", "--parallel", "1", path)
    (again,) = sluice("put", "--no-resume", "--json", path).objects()
    assert (again["resumed"], again["sent_bytes"]) == (False, SIZE)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("text", ["novalue", "=x", ""])
def test_a_tag_without_key_or_equals_sign_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_tag(text)


def test_a_tag_may_hold_further_equals_signs() -> None:
    tag = parse_tag("a=b=c")
    assert (tag.key, tag.value) == ("a", "b=c")
