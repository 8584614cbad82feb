"""`make demo`, with a smaller big file: what it shows, what it leaves behind, and the commands it prints."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cli.demo.service import running_service
from cli.demo.show import BY_HAND

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
COMMAND = (sys.executable, "-m", "cli.demo", "--mib", "48")


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def demo(temporary: Path) -> Iterator["subprocess.Popen[str]"]:
    """A running demo; its output is line by line on `stdout`."""
    env = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        COMMAND, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield process
        process.kill()


def read_until(demo: "subprocess.Popen[str]", words: str) -> None:
    assert demo.stdout is not None
    seen = []
    for line in demo.stdout:
        seen.append(line)
        if words in line:
            return
    pytest.fail(f"never said {words!r}:\n{''.join(seen)}")


@pytest.mark.slow
def test_every_file_comes_back_and_nothing_is_left(demo: "subprocess.Popen[str]", temporary: Path) -> None:
    output, _ = demo.communicate(timeout=PATIENCE)

    assert demo.returncode == 0, output
    rows = [line.split() for line in output.splitlines() if line.rstrip().endswith("yes")]
    assert [(row[0], row[-2]) for row in rows] == [
        ("random.bin", "ready"),
        ("readings.csv", "ready"),
        ("gradient.png", "ready"),
        ("empty.txt", "ready"),
    ]
    assert "client killed (SIGKILL)" in output
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_and_no_folder(demo: "subprocess.Popen[str]", temporary: Path) -> None:
    read_until(demo, "resuming")
    family = psutil.Process(demo.pid).children(recursive=True)

    demo.send_signal(signal.SIGINT)

    assert demo.wait(PATIENCE) == 130
    assert [process for process in family if process.is_running()] == []
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")
def test_the_commands_by_hand_work_as_printed(tmp_path: Path) -> None:
    commands = BY_HAND.partition("\n\n")[2]
    with running_service(tmp_path) as url:
        script = commands.replace("http://127.0.0.1:8000", url)
        ran = subprocess.run(
            ("bash", "-euo", "pipefail", "-c", script),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    downloaded, local = [line.split()[0] for line in ran.stdout.splitlines() if line.endswith((" -", " sample.bin"))]
    assert downloaded == local
    middle = (tmp_path / "sample.bin").read_bytes()[1000:1016]
    assert ran.stdout.splitlines()[-1].split() == [f"{byte:02x}" for byte in middle]
