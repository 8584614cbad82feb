"""`sluice put`."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from cli.put import parse_tag
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
