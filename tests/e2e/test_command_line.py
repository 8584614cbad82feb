"""`sluice put|get|ls|job|rm` against the whole service: what a person at a terminal does."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.stack import RunningStack

MIB = 1024**2


@pytest.fixture
def sluice(shared_stack: RunningStack, tmp_path: Path) -> Any:
    """Run a command as a user of this service would; its state folder is the test's own."""
    env = {**os.environ, "SLUICE_URL": shared_stack.url, "SLUICE_STATE_DIR": str(tmp_path / "state")}

    def run(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments],
            env=env,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return run


def _output(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def test_a_file_goes_in_and_comes_out_the_same(sluice: Any, tmp_path: Path) -> None:
    source = tmp_path / "table.csv"
    source.write_text("name,age\n" + "ada,36\n" * 50_000)

    put = json.loads(_output(sluice("put", str(source), "--tag", "kind=test", "--description", "a table", "--json")))
    _output(sluice("get", put["file_id"], "-o", str(tmp_path / "back.csv")))
    listed = json.loads(_output(sluice("ls", "--tag", "kind=test", "--json")).splitlines()[0])
    job = _output(sluice("job", put["job_id"]))
    _output(sluice("rm", put["file_id"]))
    gone = sluice("get", put["file_id"])
    gone.communicate(timeout=60)

    assert put["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert (tmp_path / "back.csv").read_bytes() == source.read_bytes()
    assert put["file_id"] in json.dumps(listed)
    assert "succeeded" in job
    assert gone.returncode == 1


def test_a_put_that_was_killed_goes_on_where_it_stopped(
    sluice: Any, shared_stack: RunningStack, tmp_path: Path
) -> None:
    stack = shared_stack
    source = tmp_path / "big.bin"
    source.write_bytes(os.urandom(64 * MIB))
    # the gateways stop when they have a few chunks: then the client is killed in the middle for sure
    first = sluice("put", str(source), "--json")
    upload_id = _first_upload(tmp_path / "state", first)
    while _received(stack, upload_id) == 0:
        assert first.poll() is None, "the client ended before it could be killed"
    stack.signal(signal.SIGSTOP, *stack.parts("gateway"))
    first.kill()
    first.communicate(timeout=10)
    stack.signal(signal.SIGCONT, *stack.parts("gateway"))

    again = json.loads(_output(sluice("put", str(source), "--json")))

    assert again["ok"]
    assert again["upload_id"] == upload_id
    assert again["resumed"]
    assert 0 < again["sent_bytes"] < 64 * MIB
    assert again["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()


def _received(stack: RunningStack, upload_id: str) -> int:
    return int(httpx.get(f"{stack.url}/v1/uploads/{upload_id}", trust_env=False).json()["received_bytes"])


def _first_upload(state: Path, client: "subprocess.Popen[str]") -> str:
    """The id of the only upload there is, as the client remembers it."""
    while client.poll() is None:
        for file in state.glob("uploads/*.json"):
            if upload_id := json.loads(file.read_text()).get("upload_id"):
                return str(upload_id)
    raise AssertionError("the client ended before it had created an upload")
