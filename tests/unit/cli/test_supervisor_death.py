"""What is left when the supervisor itself is killed: nothing."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cli.keeper import TETHER

MORTAL = """
import asyncio, sys
from pathlib import Path
from cli.part import Part
from cli.run_folder import RunFolder
from cli.supervisor import Supervisor

async def main():
    supervisor = Supervisor(RunFolder(Path(sys.argv[1])), print)
    sleeper = [sys.executable, "-I", "-S", "-c", "import signal; print('asleep', flush=True); signal.pause()"]
    await supervisor.start([Part(name, sleeper, {}, 1) for name in ("one", "two")], within=20)
    await supervisor.wait_for_stop()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_the_parts_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    command = (sys.executable, "-c", MORTAL, str(tmp_path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": str(Path.cwd())}) as supervisor:
        assert supervisor.stdout is not None
        assert [supervisor.stdout.readline() for _ in range(2)] == [b"asleep\n"] * 2
        parts = [psutil.Process(int(path.read_text())) for path in sorted(tmp_path.glob("*.pid"))]
        supervisor.kill()
    left = [part for part in parts if not ended(part)]
    for part in left:
        part.kill()
    assert (len(parts), left) == (2, [])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_part_whose_supervisor_died_before_the_tie_does_not_run(tmp_path: Path) -> None:
    somebody_else = str(os.getpid() + 1)
    command = (sys.executable, "-I", "-S", str(TETHER), somebody_else, "touch", str(tmp_path / "ran"))
    assert subprocess.run(command, check=False, timeout=20).returncode == 0
    assert not (tmp_path / "ran").exists()


def ended(process: psutil.Process) -> bool:
    """Whether `process` ends within some seconds; one that nobody has collected yet counts as ended."""
    try:
        process.wait(timeout=10)
    except psutil.TimeoutExpired:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True
